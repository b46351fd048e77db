"""Greet whoever asks."""

from wharfd import Route, hookimpl


async def hello(ctx, request):
    """Greet by name."""
    return {"greeting": f"hello {request.path['name']}"}


@hookimpl
def register_routes(settings):
    return [Route(method="GET", path="/hello/{name}", handler=hello, scope="hello:read")]
