"""A slow, plain model of the whole ledger, and what drives ledger and model side by side through random histories.

The model is written from the specification: dicts, whole numbers and fractions, nothing of ``state`` or ``consensus``, and of
``omnitensor`` only the records that carry orders. What makes the orders and compares the two knows both, and is not the model.
"""
