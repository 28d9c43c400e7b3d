"""Pull: public APIs of grid operators, regulators and weather services."""
