//! The containerd shim of Reeve. Nothing is here yet: the crate holds the name and the place.
//!
//! It will hold `containerd-shim-reeve-v2`, which speaks containerd's shim v2 task API over ttrpc
//! and drives the `runtime` library, so that `reeve` can be used as a containerd runtime and as a
//! Kubernetes runtime class. Until then containerd cannot use Reeve: start containers with
//! `reeve run`.
//!
//! What it will not do: decide whether an action is allowed (that is `ebpf-common`), or start a
//! container in another way than `runtime` does.
