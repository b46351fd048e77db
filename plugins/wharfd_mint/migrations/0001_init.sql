-- Buyers and their tiers; mints as work; every signed transaction; who holds which nonce. Nobody deletes buyers.

CREATE TABLE mint.tiers (
    tier       text        PRIMARY KEY,
    cap        integer     CHECK (cap >= 0),
    taken      integer     NOT NULL DEFAULT 0 CHECK (taken >= 0),
    price      bigint      CHECK (price >= 0),
    currency   text        NOT NULL DEFAULT 'USD',
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE mint.tiers IS 'What is sold. taken counts the buyers that hold a place; it only moves in their transactions.';

CREATE TABLE mint.buyers (
    id             text        NOT NULL,
    license_id     text        NOT NULL,
    wallet         text        NOT NULL CHECK (wallet ~ '^0x[0-9a-fA-F]{40}$'),
    tier           text        NOT NULL REFERENCES mint.tiers,
    status         text        NOT NULL CHECK (status IN ('active', 'pending_wire', 'refunded', 'expired')),
    holds_place    boolean     NOT NULL DEFAULT false,
    tx_hash        text,
    token_id       text,
    price          bigint      CHECK (price >= 0),
    currency       text        NOT NULL DEFAULT 'USD',
    payment_method text        NOT NULL DEFAULT '',
    payment_ref    text,
    email          text,
    name           text,
    next_step      text        NOT NULL DEFAULT '',
    receipt_sent   boolean     NOT NULL DEFAULT false,
    owner          text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    status_at      timestamptz NOT NULL DEFAULT now(),
    delivered_at   timestamptz,
    CONSTRAINT buyers_pkey PRIMARY KEY (id)
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX buyers_license_id_idx ON mint.buyers (license_id);
CREATE INDEX buyers_wallet_idx ON mint.buyers (wallet);
CREATE INDEX buyers_tier_idx ON mint.buyers (tier);
CREATE INDEX buyers_status_idx ON mint.buyers (status);
CREATE INDEX buyers_created_at_idx ON mint.buyers (created_at);
CREATE INDEX buyers_wallet_status_idx ON mint.buyers (wallet, status);
-- Beside the seven: an owner's list, what the alert looks for, and what is reviewed and archived by age.
CREATE INDEX buyers_owner_idx ON mint.buyers (owner, created_at);
CREATE INDEX buyers_without_token_idx ON mint.buyers (status_at) WHERE status = 'active' AND tx_hash IS NULL;
CREATE INDEX buyers_aging_idx ON mint.buyers (status, status_at) WHERE status <> 'active';
COMMENT ON TABLE mint.buyers IS 'Who bought a license; tx_hash is set by a final receipt and by nothing else.';

CREATE TABLE mint.buyers_archive (LIKE mint.buyers, archived_at timestamptz NOT NULL DEFAULT now());
ALTER TABLE mint.buyers_archive ADD PRIMARY KEY (id);
CREATE UNIQUE INDEX buyers_archive_license_id_idx ON mint.buyers_archive (license_id);
CREATE INDEX buyers_archive_wallet_idx ON mint.buyers_archive (wallet);
CREATE INDEX buyers_archive_status_idx ON mint.buyers_archive (status, status_at);
COMMENT ON TABLE mint.buyers_archive IS 'Refunded and expired buyers of long ago.';

CREATE TABLE mint.buyer_history (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    buyer_id text        NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    status   text        NOT NULL,
    actor    text        NOT NULL,
    reason   text        NOT NULL DEFAULT ''
);
CREATE INDEX buyer_history_buyer_idx ON mint.buyer_history (buyer_id, id);

-- One row per license; the row is the work.
CREATE TABLE mint.intents (
    id           text        PRIMARY KEY,
    license_id   text        NOT NULL UNIQUE,
    buyer_id     text        NOT NULL,
    wallet       text        NOT NULL,
    tier         text        NOT NULL,
    owner        text,
    minter       text        NOT NULL,
    stage        text        NOT NULL DEFAULT 'waiting',
    trouble      text,
    doomed       text,
    sent_on      boolean     NOT NULL DEFAULT false,
    tx_hash      text,
    token_id     text,
    block        bigint,
    delivered_at timestamptz,
    final        boolean     NOT NULL DEFAULT false,
    checked_at   timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    state        text        NOT NULL DEFAULT 'ready'
                 CHECK (state IN ('ready', 'running', 'done', 'buried', 'held', 'cancelled')),
    priority     smallint    NOT NULL DEFAULT 100,
    due_at       timestamptz NOT NULL DEFAULT now(),
    attempts     integer     NOT NULL DEFAULT 0,
    claim        bigint,
    lease_until  timestamptz,
    last_error   text,
    history      jsonb,
    finished_at  timestamptz
) WITH (fillfactor = 70);
CREATE INDEX intents_ready ON mint.intents (priority, due_at) WHERE state = 'ready';
CREATE INDEX intents_running ON mint.intents (id) WHERE state = 'running';
CREATE INDEX intents_parked ON mint.intents (state, finished_at) WHERE state IN ('buried', 'held');
CREATE INDEX intents_created_idx ON mint.intents (created_at, id);
CREATE INDEX intents_owner_idx ON mint.intents (owner, created_at);
CREATE INDEX intents_open_idx ON mint.intents (created_at) WHERE state IN ('ready', 'running', 'buried', 'held');
CREATE INDEX intents_unfinal_idx ON mint.intents (delivered_at) WHERE state = 'done' AND tx_hash IS NOT NULL AND NOT final;
CREATE INDEX intents_checked_idx ON mint.intents (checked_at NULLS FIRST, id) WHERE state = 'done' AND tx_hash IS NOT NULL;
COMMENT ON TABLE mint.intents IS 'One mint per license, as work.';

CREATE TABLE mint.signers (
    chain_id     bigint      NOT NULL,
    signer       text        NOT NULL,
    fence        bigint      NOT NULL DEFAULT 0,
    writer       text        NOT NULL DEFAULT '',
    paused_until timestamptz,
    paused_for   text,
    balance      numeric(78, 0),
    nonce        bigint,
    seen_at      timestamptz,
    PRIMARY KEY (chain_id, signer)
);
COMMENT ON TABLE mint.signers IS 'One writer per signer: whoever holds the lock of this row takes a nonce. fence counts them.';

CREATE TABLE mint.nonces (
    chain_id  bigint      NOT NULL,
    signer    text        NOT NULL,
    nonce     bigint      NOT NULL CHECK (nonce >= 0),
    intent_id text        NOT NULL,
    held_by   text        NOT NULL,
    fence     bigint      NOT NULL,
    open      boolean     NOT NULL DEFAULT true,
    outcome   text        CHECK (outcome IN ('mined', 'reverted', 'cancelled', 'foreign')),
    tx_hash   text,
    day       date        NOT NULL,
    reserved  numeric(78, 0) NOT NULL,
    spent     numeric(78, 0),
    opened_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    PRIMARY KEY (chain_id, signer, nonce),
    CHECK (open = (outcome IS NULL))
);
CREATE UNIQUE INDEX nonces_held_idx ON mint.nonces (held_by) WHERE open;
CREATE INDEX nonces_intent_idx ON mint.nonces (intent_id);
CREATE INDEX nonces_open_idx ON mint.nonces (chain_id, signer, nonce) WHERE open;
CREATE INDEX nonces_day_idx ON mint.nonces (chain_id, signer, day);
COMMENT ON TABLE mint.nonces IS
    'A nonce belongs to one mint until it is used up for good. held_by differs from intent_id when it was given up
too early and is only filled now: its old transactions may still win, and whoever wins uses it up.';

CREATE TABLE mint.attempts (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    intent_id     text        NOT NULL,
    chain_id      bigint      NOT NULL,
    signer        text        NOT NULL,
    nonce         bigint      NOT NULL,
    kind          text        NOT NULL CHECK (kind IN ('mint', 'cancel')),
    hash          text        NOT NULL UNIQUE,
    raw           bytea       NOT NULL,
    gas           bigint      NOT NULL,
    max_fee       numeric(78, 0) NOT NULL,
    priority_fee  numeric(78, 0) NOT NULL,
    signed_at     timestamptz NOT NULL,
    sent          integer     NOT NULL DEFAULT 0,
    first_sent_at timestamptz,
    sent_at       timestamptz,
    endpoint      text,
    failure       text,
    error         text,
    block         bigint,
    block_hash    text,
    mined_ok      boolean,
    gas_used      bigint,
    gas_price     numeric(78, 0),
    reorged       integer     NOT NULL DEFAULT 0,
    FOREIGN KEY (chain_id, signer, nonce) REFERENCES mint.nonces
);
CREATE INDEX attempts_nonce_idx ON mint.attempts (chain_id, signer, nonce, id);
CREATE INDEX attempts_intent_idx ON mint.attempts (intent_id, id);
COMMENT ON TABLE mint.attempts IS 'Every transaction that was ever signed, committed before it was sent. Kept for good.';

CREATE TABLE mint.notices (
    license_id text        NOT NULL,
    kind       text        NOT NULL,
    event_id   text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (license_id, kind)
);
COMMENT ON TABLE mint.notices IS 'What a customer was told; the key makes it once.';

CREATE TABLE mint.payments (
    event_id       text        PRIMARY KEY,
    transaction_id text        NOT NULL,
    kind           text        NOT NULL CHECK (kind IN ('received', 'refunded')),
    license_id     text,
    amount         bigint,
    currency       text,
    outcome        text        NOT NULL,
    needs_person   boolean     NOT NULL,
    settled_at     timestamptz,
    at             timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX payments_license_idx ON mint.payments (license_id, at);
CREATE INDEX payments_open_idx ON mint.payments (at) WHERE needs_person AND settled_at IS NULL;
COMMENT ON TABLE mint.payments IS 'Payments that name a license, and what came of each.';
