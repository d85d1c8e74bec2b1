//! Backups: a repository of chunks, and chains of qcow2 files.
