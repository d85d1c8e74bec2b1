//! What the file itself looks like after what was done.
