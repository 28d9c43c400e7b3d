"""Sources that are asked: public APIs of operators, regulators and weather services."""
