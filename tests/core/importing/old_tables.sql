-- The tables of the five old systems, as their documents have them, with the rows that make trouble.
CREATE TABLE webhook_events (id text PRIMARY KEY, timestamp timestamp(3) NOT NULL DEFAULT now(), "eventType" text NOT NULL,
  source text NOT NULL, processed boolean NOT NULL DEFAULT false, error text, payload jsonb NOT NULL, "ipAddress" text,
  "userAgent" text, signature text, "companyId" text);
INSERT INTO webhook_events
SELECT 'clw' || lpad(n::text, 6, '0'), timestamp '2026-08-30 10:00' + n * interval '1 minute', 'PAYMENT_COMPLETED', 'netbanx',
  n % 50 <> 0, CASE WHEN n % 50 = 0 THEN 'timeout' END,
  jsonb_build_object('eventType', 'PAYMENT_COMPLETED', 'resourceId', 'pay-' || n, 'eventDate', '2026-08-30T10:00:00Z',
    'payload', jsonb_build_object('id', 'pay-' || n, 'merchantRefNum', 'ref-' || n, 'amount', 1000 + n,
      'rate', 0.5, 'currencyCode', 'EUR', 'status', 'COMPLETED')),
  '10.0.0.1', 'Paysafe', 'c2ln', CASE WHEN n % 2 = 0 THEN 'acme' END
FROM generate_series(1, 120) n;

CREATE TABLE transactions (id text PRIMARY KEY, "externalId" text UNIQUE, "merchantRefNum" text, amount double precision,
  currency text, status text, "transactionType" text, "paymentMethod" text, description text,
  "createdAt" timestamp(3), "updatedAt" timestamp(3), "transactionTime" timestamp(3), metadata jsonb,
  "webhookEventId" text, "companyId" text);
INSERT INTO transactions
SELECT 'txn' || lpad(n::text, 6, '0'), 'pay-' || n, 'ref-' || n, 10.01 + n, CASE WHEN n % 10 = 0 THEN 'JPY' ELSE 'EUR' END,
  (ARRAY['COMPLETED', 'PENDING', 'FAILED', 'CANCELLED'])[1 + n % 4], (ARRAY['PAYMENT', 'REFUND', 'PAYOUT'])[1 + n % 3],
  'CARD', NULL, timestamp '2026-08-30 10:00' + n * interval '1 minute', timestamp '2026-08-30 11:00', NULL,
  '{"k": 1.5}', 'clw' || lpad(n::text, 6, '0'), CASE WHEN n % 2 = 0 THEN 'acme' END
FROM generate_series(1, 100) n;
INSERT INTO transactions (id, "externalId", amount, currency, status, "transactionType", "createdAt") VALUES
  ('bad-1', 'pay-odd', 10.005, 'EUR', 'COMPLETED', 'PAYMENT', '2026-08-01'),
  ('bad-2', 'pay-xxx', 5, 'ZZZ', 'COMPLETED', 'PAYMENT', '2026-08-01'),
  ('bad-3', 'pay-sts', 5, 'EUR', 'SETTLED', 'PAYMENT', '2026-08-01');

CREATE TABLE accounts (id text PRIMARY KEY, "externalId" text UNIQUE, "merchantId" text, "accountName" text,
  "businessName" text, email text, phone text, status text, "subStatus" text, "onboardingStage" text,
  "creditCardId" text, "directDebitId" text, "businessType" text, industry text, website text, "riskLevel" text,
  "complianceStatus" text, "createdAt" timestamp(3), "updatedAt" timestamp(3), "approvedAt" timestamp(3),
  "activatedAt" timestamp(3), metadata jsonb, "webhookEventId" text, "companyId" text);
INSERT INTO accounts (id, "externalId", status, "onboardingStage", "riskLevel", email, "createdAt", "updatedAt", metadata) VALUES
  ('a1', '1003296300', 'APPROVED', 'COMPLETE', 'LOW', 'a@example.com', '2026-01-02', '2026-02-03 04:05:06.789', '{"a": 1}'),
  ('a2', '1003296301', 'SUSPENDED', NULL, NULL, NULL, '2026-01-02', '2026-02-03', NULL);
CREATE TABLE account_status_history (id text PRIMARY KEY, "accountId" text, "fromStatus" text, "toStatus" text,
  "subStatus" text, stage text, reason text, description text, "changedBy" text, metadata jsonb, timestamp timestamp(3));
INSERT INTO account_status_history (id, "accountId", "fromStatus", "toStatus", reason, timestamp) VALUES
  ('h1', 'a1', 'PENDING', 'IN_REVIEW', 'documents', '2026-01-03'), ('h2', 'a1', 'IN_REVIEW', 'APPROVED', NULL, '2026-02-03');
CREATE TABLE payment_methods (id text PRIMARY KEY, "accountId" text, type text, "externalId" text, name text, status text,
  "isDefault" boolean, capabilities text[], limits jsonb, metadata jsonb, "createdAt" timestamp(3), "updatedAt" timestamp(3));
INSERT INTO payment_methods (id, "accountId", type, "externalId", "createdAt") VALUES ('m1', 'a1', 'CREDIT_CARD', 'cc-1', '2026-01-03');
CREATE TABLE webhook_secrets (id text PRIMARY KEY, endpoint text UNIQUE, name text, description text, "encryptedKey" text,
  algorithm text, "keyVersion" int, "isActive" boolean, "companyId" text);
INSERT INTO webhook_secrets VALUES ('s1', '/api/webhooks/netbanx', 'main', NULL, 'xyz', 'aes', 1, true, NULL);
CREATE TABLE companies (id text PRIMARY KEY, name text, email text UNIQUE, phone text, address text,
  "webhookEndpoint" text, "apiKey" text, "isActive" boolean, "createdAt" timestamp(3), "updatedAt" timestamp(3));
INSERT INTO companies VALUES
  ('acme', 'Acme Ltd', 'it@acme.example', NULL, 'Main St 1', 'https://acme.example/hook', 'nb_acme-plain', true, '2026-01-05', '2026-01-06'),
  ('beta', 'Beta', 'it@beta.example', NULL, NULL, '/api/webhooks/beta', 'nb_beta-plain', false, NULL, NULL);
CREATE TABLE api_tokens (id text PRIMARY KEY, name text, token text, "companyId" text, permissions jsonb, "isActive" boolean,
  "lastUsedAt" timestamp(3), "expiresAt" timestamp(3));
INSERT INTO api_tokens VALUES ('t1', 'reports', 'tok-plain-1', 'acme', '["transactions:read"]', true, NULL, '2027-01-01'),
  ('t2', 'old', 'tok-plain-2', 'beta', NULL, false, NULL, NULL);
CREATE TABLE audit_logs (id text PRIMARY KEY, action text);

CREATE TABLE webhooks (id text PRIMARY KEY, user_id integer NOT NULL, url text NOT NULL, events text[] NOT NULL,
  secret text NOT NULL, active boolean NOT NULL DEFAULT true, created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(), last_triggered_at timestamptz, failure_count integer NOT NULL DEFAULT 0);
INSERT INTO webhooks VALUES
  ('wh_1_aa', 7, 'https://example.com/hook', '{order.created,payment.received}', repeat('ab', 32), true, '2026-03-01', '2026-03-02', '2026-08-30 01:02:03.456789+02', 3),
  ('wh_2_bb', 7, 'https://example.com/off', '{order.failed}', repeat('cd', 32), false, '2026-03-01', '2026-03-02', NULL, 0),
  ('wh_3_cc', 8, 'ftp://example.com', '{order.failed}', repeat('cd', 32), true, '2026-03-01', '2026-03-02', NULL, 0);
CREATE TABLE webhook_deliveries (id text PRIMARY KEY, webhook_id text NOT NULL, event text NOT NULL, payload jsonb NOT NULL,
  status text NOT NULL, attempts integer NOT NULL DEFAULT 0, last_attempt_at timestamptz, next_retry_at timestamptz,
  response_code integer, response_body text, error text, created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO webhook_deliveries VALUES
  ('d1', 'wh_1_aa', 'order.created', '{"id": 1}', 'delivered', 1, '2026-08-30', NULL, 200, 'ok', NULL, '2026-08-30'),
  ('d2', 'wh_1_aa', 'order.created', '{"id": 2}', 'failed', 5, '2026-08-30', NULL, 500, 'no', 'HTTP 500', '2026-08-30'),
  ('d3', 'wh_1_aa', 'payment.received', '{"id": 3}', 'retrying', 2, '2026-08-30', '2026-08-31', NULL, NULL, 'timeout', '2026-08-30'),
  ('d4', 'wh_1_aa', 'payment.received', '{"id": 4}', 'pending', 0, NULL, NULL, NULL, NULL, NULL, '2026-08-30');
CREATE TABLE bulk_order_batches (batch_id text PRIMARY KEY, user_id integer NOT NULL, status text NOT NULL DEFAULT 'pending',
  total integer NOT NULL, processed integer NOT NULL DEFAULT 0, succeeded integer NOT NULL DEFAULT 0,
  failed integer NOT NULL DEFAULT 0, error text, created_at timestamptz NOT NULL DEFAULT now(), completed_at timestamptz);
INSERT INTO bulk_order_batches VALUES
  ('bulk_1', 7, 'partial', 3, 3, 2, 1, NULL, '2026-05-01', '2026-05-01 00:01'),
  ('bulk_2', 7, 'processing', 2, 1, 1, 0, NULL, '2026-05-02', NULL);
CREATE TABLE bulk_order_results (id serial PRIMARY KEY, batch_id text NOT NULL, order_index integer NOT NULL, order_id integer,
  model_order_id text, success boolean NOT NULL, error text, order_data jsonb, created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (batch_id, order_index));
INSERT INTO bulk_order_results (batch_id, order_index, order_id, model_order_id, success, error, order_data, created_at) VALUES
  ('bulk_1', 0, 11, 'MO-1', true, NULL, '{"amount": 12.5}', '2026-05-01'), ('bulk_1', 1, 12, NULL, true, NULL, NULL, '2026-05-01'),
  ('bulk_1', 2, NULL, NULL, false, 'no funds', '{}', '2026-05-01'), ('bulk_2', 0, 13, NULL, true, NULL, '{}', '2026-05-02');
CREATE TABLE integrations (id text PRIMARY KEY, user_id integer NOT NULL, name text NOT NULL, type text NOT NULL,
  status text NOT NULL DEFAULT 'pending', api_key text NOT NULL UNIQUE, api_secret text NOT NULL, config jsonb, webhook_url text,
  webhook_secret text, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
  last_used_at timestamptz, usage_count integer NOT NULL DEFAULT 0);
INSERT INTO integrations VALUES ('int_1_x', 7, 'Gateway', 'payment_gateway', 'active', 'key-plain', 'secret-plain',
  '{"url": "https://pay.example.com", "password": "hunter2-plain"}', 'https://example.com/i', 'hook-secret-plain', '2026-04-01', '2026-04-02', NULL, 12);
CREATE TABLE integration_usage_logs (id text PRIMARY KEY, integration_id text NOT NULL, endpoint text NOT NULL, method text NOT NULL,
  status_code integer NOT NULL, response_time integer NOT NULL, error text, timestamp timestamptz NOT NULL DEFAULT now());
INSERT INTO integration_usage_logs VALUES ('u1', 'int_1_x', '/api/x', 'GET', 200, 12, NULL, '2026-08-30 10:00'),
  ('u2', 'int_1_x', '/api/x', 'GET', 500, 30, 'boom', '2026-08-30 10:00');

CREATE TABLE buyers (id serial PRIMARY KEY, license_id text UNIQUE NOT NULL, wallet text NOT NULL, tier text NOT NULL,
  price_usd numeric, payment_method text, status text NOT NULL, tx_hash text, email text, name text,
  created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO buyers (license_id, wallet, tier, price_usd, payment_method, status, tx_hash, email, created_at) VALUES
  ('NODE-00001', '0x1111111111111111111111111111111111111111', 'gold', 299.99, 'card', 'active', '0x' || repeat('ab', 32), 'b@example.com', '2026-01-01'),
  ('NODE-00002', '0x1111111111111111111111111111111111111112', 'gold', 299, 'wire', 'active', NULL, NULL, '2026-01-02'),
  ('NODE-00003', '0x1111111111111111111111111111111111111113', 'gold', 299, 'wire', 'pending_wire', NULL, NULL, '2026-01-03'),
  ('NODE-00004', '0x1111111111111111111111111111111111111114', 'silver', 99, 'card', 'refunded', NULL, NULL, '2026-01-04'),
  ('NODE-00005', 'not-a-wallet', 'silver', 99, 'card', 'active', NULL, NULL, '2026-01-04');

CREATE TABLE backfill_jobs (id uuid PRIMARY KEY, job_type text, start_block bigint, end_block bigint, current_block bigint,
  status text, progress_percentage double precision, estimated_completion timestamptz, error_message text,
  started_at timestamptz, completed_at timestamptz, created_by text);
INSERT INTO backfill_jobs VALUES ('11111111-2222-3333-4444-555555555555', 'blocks', 1, 100, 42, 'running', 42.5, NULL, NULL, '2026-08-01', NULL, 'ann');
CREATE TABLE insight_feedback (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), insight_id text, user_id text, rating integer, comment text,
  flag_type text, flag_reason text, created_at timestamptz, updated_at timestamptz, UNIQUE (insight_id, user_id));
INSERT INTO insight_feedback (insight_id, user_id, rating, comment, flag_type, flag_reason, created_at, updated_at) VALUES
  ('i1', 'u1', 5, 'good', NULL, NULL, '2026-06-01', '2026-06-02'), ('i1', 'u2', NULL, NULL, 'spam', 'ad', '2026-06-01', NULL),
  ('i1', 'u3', 9, NULL, NULL, NULL, '2026-06-01', NULL);
CREATE TABLE system_metrics (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), service_name text, metric_type text, metric_value double precision,
  unit text, timestamp timestamptz, metric_metadata jsonb);
INSERT INTO system_metrics (service_name, metric_type, metric_value, unit, timestamp, metric_metadata)
SELECT 'web-api', 'latency', n / 7.0, 'ms', timestamptz '2026-08-30 10:00Z' + n * interval '20 seconds', '{"host": "a"}'
FROM generate_series(1, 90) n;
