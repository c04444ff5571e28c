"""``holdfast check``: does a tuned model keep the limits on safety and accuracy?"""
