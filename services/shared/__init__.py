"""What both services are made of: problems, response bodies, security, feeds from Kafka, books in memory."""
