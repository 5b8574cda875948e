"""A module that lies beside the sensor."""

WORD = "beside"
