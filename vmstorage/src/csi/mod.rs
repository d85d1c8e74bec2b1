//! The snapshot metadata service of the Container Storage Interface.
