"""What both services are made of: problems, response bodies, access, feeds from Kafka, books in memory."""
