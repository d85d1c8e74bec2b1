//! Change tracking: which blocks changed since which reference point.
