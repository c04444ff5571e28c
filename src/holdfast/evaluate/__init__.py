"""How safe and how useful a model is: answers, verdicts, and the metrics made of them."""
