"""Deployment of dualcast: the embedded stack, the demo, the containers and the Airflow DAGs."""
