CREATE TABLE loyalty.members (
    id          text        PRIMARY KEY,
    owner       text,
    reference   text        NOT NULL,
    points      bigint      NOT NULL DEFAULT 0 CHECK (points >= 0),
    level       text        NOT NULL DEFAULT 'bronze' CHECK (level IN ('bronze', 'silver', 'gold')),
    joined_at   timestamptz NOT NULL DEFAULT now(),
    earned_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (owner, reference)
);
CREATE INDEX members_by_points ON loyalty.members (points DESC, id);
CREATE INDEX members_of_an_owner ON loyalty.members (owner, points DESC, id);
CREATE INDEX members_by_last_award ON loyalty.members (earned_at) WHERE points > 0;

-- An award is its own job (law 3): the columns from state on belong to the work engine. What made it is
-- unique, so that a payment heard twice is one award.
CREATE TABLE loyalty.awards (
    id          text        PRIMARY KEY,
    member_id   text        NOT NULL REFERENCES loyalty.members,
    points      bigint      NOT NULL,
    reason      text        NOT NULL CHECK (reason IN ('payment', 'gift', 'expiry')),
    made_by     text        NOT NULL UNIQUE,
    created_at  timestamptz NOT NULL DEFAULT now(),
    state       text        NOT NULL DEFAULT 'ready'
                CHECK (state IN ('ready', 'running', 'done', 'buried', 'held', 'cancelled')),
    priority    smallint    NOT NULL DEFAULT 100,
    due_at      timestamptz NOT NULL DEFAULT now(),
    attempts    integer     NOT NULL DEFAULT 0,
    claim       bigint,
    lease_until timestamptz,
    last_error  text,
    history     jsonb,
    finished_at timestamptz
) WITH (fillfactor = 85);
CREATE INDEX awards_ready ON loyalty.awards (priority, due_at) WHERE state = 'ready';
CREATE INDEX awards_running ON loyalty.awards (id) WHERE state = 'running';
CREATE INDEX awards_parked ON loyalty.awards (state, finished_at) WHERE state IN ('buried', 'held');
CREATE INDEX awards_done ON loyalty.awards (finished_at) WHERE state = 'done';
