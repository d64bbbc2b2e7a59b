"""Foundation metrics of scores, their combination over reward models, agreement, drift."""
