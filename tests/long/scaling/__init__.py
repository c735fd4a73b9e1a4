"""Where workers run and how many: demand, scale-in, routes, builds, and the planner's arithmetic."""
