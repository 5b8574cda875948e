//! Whole clusters of core in simulated time.
