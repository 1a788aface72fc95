"""How a training stage is laid out on devices: shapes of models, what devices hold, layouts that fit."""
