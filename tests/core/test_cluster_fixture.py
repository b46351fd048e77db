def test_cluster_answers(postgres):
    postgres.psql("postgres", "SELECT 1")
