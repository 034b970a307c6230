"""What every detector, format and actuator promises, as checks that run on any of them, wherever it comes from."""
