-- What an endpoint's TLS is held to beyond the system's authorities, and when that ends.
ALTER TABLE webhooks.endpoints
    ADD ca                 text,
    ADD client_certificate text,
    ADD client_key         bytea,
    ADD tls_ends_at        timestamptz;
CREATE INDEX endpoints_tls_ends ON webhooks.endpoints (tls_ends_at) WHERE tls_ends_at IS NOT NULL;
COMMENT ON COLUMN webhooks.endpoints.ca IS 'PEM; when given, only certificates signed by these are accepted.';
COMMENT ON COLUMN webhooks.endpoints.client_key IS 'The key of client_certificate as PEM, sealed.';
COMMENT ON COLUMN webhooks.endpoints.tls_ends_at IS 'When the first of these certificates is valid no more.';
