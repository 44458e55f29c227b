"""Programs run: stages in turn, then results as eager would leave them."""
