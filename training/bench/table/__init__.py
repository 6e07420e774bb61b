"""The benchmark on tables: our models and their peers on real data sets, inside and outside the training range."""
