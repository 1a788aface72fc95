"""What a finished run gives to others: its data, models, predictions and scores, on the Hugging Face hub."""
