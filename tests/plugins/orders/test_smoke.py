from .conftest import lines, order


async def test_smoke(orders):
    view = await orders.send(lines(50))
    print(view["status"], view["total"])
    done = await orders.finished(view["batchId"])
    assert done["status"] == "completed", done
    view = await orders.send({"orders": [order(1), order(100)]}, headers={})
    done = await orders.finished(view["batchId"])
    print(done["results"], done["duplicates"])
