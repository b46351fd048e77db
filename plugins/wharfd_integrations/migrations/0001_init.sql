-- Integrations, the API keys of every caller, the nonces of signed requests, and the usage log.

CREATE TABLE integrations (
    id                 text        PRIMARY KEY,
    owner              text,
    name               text        NOT NULL,
    type               text        NOT NULL CHECK (type IN (
        'payment_gateway', 'rta', 'nav_provider', 'email_service', 'sms_service', 'analytics', 'custom')),
    status             text        NOT NULL CHECK (status IN ('active', 'inactive', 'pending', 'suspended')),
    suspended_by_house boolean     NOT NULL DEFAULT false,
    config             jsonb       NOT NULL DEFAULT '{}',
    config_secrets     bytea,
    webhook_url        text,
    webhook_secret     bytea,
    created_at         timestamptz NOT NULL DEFAULT now(),
    created_by         text        NOT NULL,
    updated_at         timestamptz NOT NULL DEFAULT now(),
    last_used_at       timestamptz,
    usage_count        bigint      NOT NULL DEFAULT 0
) WITH (fillfactor = 85);
-- Ids sort by time, so the primary key serves the newest-first list of an admin.
CREATE INDEX integrations_owner ON integrations (owner, id DESC);
CREATE INDEX integrations_type ON integrations (type, id DESC);
CREATE INDEX integrations_status ON integrations (status, id DESC);
COMMENT ON TABLE integrations IS 'Outside systems that call wharfd; what is secret of them is sealed.';

-- A key is found by its short id and known by its hash; no column holds anything that would open a door.
-- last_used_at and use_count change often and stand in no index, so that updates stay on their page.
CREATE TABLE keys (
    id              text        PRIMARY KEY,
    short           text        NOT NULL UNIQUE,
    hash            bytea       NOT NULL,
    mode            text        NOT NULL CHECK (mode IN ('live', 'test')),
    owner           text,
    integration_id  text,
    name            text        NOT NULL,
    scopes          text[]      NOT NULL,
    allow_list      cidr[]      NOT NULL DEFAULT '{}',
    rate_per_minute integer     CHECK (rate_per_minute > 0),
    signed_only     boolean     NOT NULL DEFAULT false,
    secret          bytea,
    pair            boolean     NOT NULL DEFAULT false,
    expires_at      timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    created_by      text        NOT NULL,
    rotated_from    text,
    replaced_at     timestamptz,
    valid_until     timestamptz,
    revoked_at      timestamptz,
    revoked_by      text,
    revoke_reason   text,
    last_used_at    timestamptz,
    last_used_from  inet,
    use_count       bigint      NOT NULL DEFAULT 0
) WITH (fillfactor = 80);
CREATE INDEX keys_owner ON keys (owner, id DESC);
CREATE INDEX keys_integration ON keys (integration_id, id DESC) WHERE integration_id IS NOT NULL;
CREATE INDEX keys_created_by ON keys (created_by) WHERE created_by LIKE 'key\_%';
CREATE INDEX keys_expires ON keys (expires_at) WHERE expires_at IS NOT NULL AND revoked_at IS NULL;
CREATE INDEX keys_replaced ON keys (replaced_at) WHERE replaced_at IS NOT NULL AND revoked_at IS NULL;
CREATE INDEX keys_revoked ON keys (revoked_at) WHERE revoked_at IS NOT NULL;
COMMENT ON TABLE keys IS 'API keys: keyed hash, scopes, limits; the key itself is shown once and kept nowhere.';

-- Every signed request that was accepted, until its timestamp alone would refuse it.
CREATE TABLE nonces (
    key_id     text        NOT NULL,
    nonce      text        NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (key_id, nonce)
);
CREATE INDEX nonces_expires ON nonces (expires_at);
COMMENT ON TABLE nonces IS 'Nonces of signed requests, so that none is accepted twice.';

CREATE SEQUENCE usage_id CACHE 100;
CREATE TABLE usage (
    at             timestamptz NOT NULL,
    id             bigint      NOT NULL DEFAULT nextval('usage_id'),
    key_id         text        NOT NULL,
    integration_id text,
    owner          text,
    endpoint       text        NOT NULL,
    method         text        NOT NULL,
    status         smallint    NOT NULL,
    ms             real        NOT NULL,
    error          text,
    client         inet,
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE INDEX usage_owner ON usage (owner, at DESC, id DESC);
CREATE INDEX usage_key ON usage (key_id, at DESC, id DESC);
CREATE INDEX usage_integration ON usage (integration_id, at DESC, id DESC) WHERE integration_id IS NOT NULL;
COMMENT ON TABLE usage IS 'Every answered request of a key: endpoint template, status, time; never a secret.';
