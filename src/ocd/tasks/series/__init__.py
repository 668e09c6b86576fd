"""Forecasts of time series: a point forecaster whose scenarios OCD draws."""
