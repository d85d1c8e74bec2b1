//! Paths and devices that the runner and the init agree on.

/// The job, in the initramfs.
pub const JOB_FILE: &str = "/job.json";

/// Kernel modules to load before the disks can be seen: one path in the initramfs a line, in order.
pub const MODULES_FILE: &str = "/modules.list";

/// First disk: the Debian root, ext4. Writes go to a throw-away layer.
pub const ROOT_DISK: &str = "/dev/vda";

/// Second disk: the files under test, ext4, read-only.
pub const PAYLOAD_DISK: &str = "/dev/vdb";

/// Where [`PAYLOAD_DISK`] is mounted.
pub const PAYLOAD_DIR: &str = "/payload";

/// Third disk: blank, for tests that write a raw block device.
pub const SCRATCH_DISK: &str = "/dev/vdc";

/// Serial port of the kernel's console, and of the shell when one was asked for.
pub const CONSOLE_PORT: &str = "/dev/ttyS0";

/// Serial port that carries the job's standard output and error, byte for byte.
pub const OUTPUT_PORT: &str = "/dev/ttyS1";

/// Serial port that carries [`crate::Report`] lines and nothing else.
pub const REPORT_PORT: &str = "/dev/ttyS2";
