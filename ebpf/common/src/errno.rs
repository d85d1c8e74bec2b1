//! The error numbers that a refusal may carry: those that an unprivileged caller of the same call
//! gets.

/// Operation not permitted: a capability or ownership is lacking.
pub const EPERM: i32 = 1;
/// Permission denied: the mode of the object does not let the caller in.
pub const EACCES: i32 = 13;
/// Cross-device link: what `rename(2)` and `link(2)` answer where an object cannot change its
/// place; programs then copy instead.
pub const EXDEV: i32 = 18;
