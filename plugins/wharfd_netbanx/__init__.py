"""Take Paysafe/NetBanx webhooks (and other providers') in, exactly once, and work out what changed."""
