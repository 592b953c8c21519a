"""Further questions about a plan: other conditions, other assumptions, other costs, and models that are unlike."""
