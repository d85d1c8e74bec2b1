//! Actions that are as good as root, or that read what opens other doors. Data, for review.

/// An action that a policy should not allow by accident.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Danger {
    /// The action, as `reeve policy explain` takes it.
    pub action: &'static str,
    /// What comes of it.
    pub why: &'static str,
    /// What to write instead.
    pub instead: &'static str,
}

/// Every one of them.
pub fn all() -> impl Iterator<Item = &'static Danger> {
    GROUPS.iter().flat_map(|group| group.iter())
}

const GROUPS: [&[Danger]; 8] = [
    &ACCOUNTS, &STARTED, &PROGRAMS, &SERVICES, &KERNEL, &PARTS, &PROCESSES, &SECRETS,
];

const fn danger(action: &'static str, why: &'static str, instead: &'static str) -> Danger {
    Danger {
        action,
        why,
        instead,
    }
}

const FEWER: &str = "grant the directories that are needed, or add a line with `allow: none`";

const ACCOUNTS: [Danger; 9] = [
    danger("write /etc/passwd", "it makes any account root", FEWER),
    danger("write /etc/shadow", "it sets the password of root", FEWER),
    danger("write /etc/sudoers", "it makes any account root", FEWER),
    danger(
        "create /etc/sudoers.d/x",
        "it makes any account root",
        FEWER,
    ),
    danger("write /etc/pam.d/login", "it lets anybody log in", FEWER),
    danger(
        "write /root/.ssh/authorized_keys",
        "it lets anybody log in as root",
        FEWER,
    ),
    danger(
        "create /root/.ssh/authorized_keys",
        "it lets anybody log in as root",
        FEWER,
    ),
    danger("append /etc/passwd", "it makes any account root", FEWER),
    danger(
        "append /root/.ssh/authorized_keys",
        "it lets anybody log in as root",
        FEWER,
    ),
];

const STARTED: [Danger; 9] = [
    danger("write /etc/crontab", "root runs what it says", FEWER),
    danger("create /etc/cron.d/x", "root runs what it says", FEWER),
    danger(
        "create /var/spool/cron/crontabs/root",
        "root runs what it says",
        FEWER,
    ),
    danger(
        "create /etc/systemd/system/x.service",
        "root runs what it says",
        FEWER,
    ),
    danger(
        "create /run/systemd/system/x.service",
        "root runs what it says",
        FEWER,
    ),
    danger(
        "create /etc/profile.d/x.sh",
        "the next root shell runs it",
        FEWER,
    ),
    danger("write /root/.bashrc", "the next root shell runs it", FEWER),
    danger(
        "create /etc/udev/rules.d/x.rules",
        "root runs what it says",
        FEWER,
    ),
    danger("append /etc/crontab", "root runs what it says", FEWER),
];

const PROGRAMS: [Danger; 9] = [
    danger(
        "create /etc/ld.so.preload",
        "every program of the host loads what it names",
        FEWER,
    ),
    danger(
        "write /usr/bin/env",
        "root runs the programs that are there",
        FEWER,
    ),
    danger(
        "create /usr/local/bin/x",
        "root finds programs there",
        FEWER,
    ),
    danger(
        "create /usr/lib/x.so",
        "programs of root load what is there",
        FEWER,
    ),
    danger(
        "create /lib/modules/x",
        "the kernel loads what is there",
        FEWER,
    ),
    danger("create /boot/x", "the host boots what is there", FEWER),
    danger(
        "create /opt/x",
        "root runs the programs that are there",
        FEWER,
    ),
    danger(
        "chmod /usr/bin/env",
        "it has programs run as their owner, root",
        FEWER,
    ),
    danger(
        "xattr /usr/bin/env",
        "it gives programs of the host capabilities",
        FEWER,
    ),
];

const SOCKET: &str = "leave the socket of whatever starts programs as root to root";

const SERVICES: [Danger; 8] = [
    danger(
        "write /run/docker.sock",
        "it starts containers that are root on the host",
        SOCKET,
    ),
    danger(
        "write /var/run/docker.sock",
        "it starts containers that are root on the host",
        SOCKET,
    ),
    danger(
        "write /run/containerd/containerd.sock",
        "it starts containers that are root",
        SOCKET,
    ),
    danger(
        "write /run/crio/crio.sock",
        "it starts containers that are root",
        SOCKET,
    ),
    danger(
        "write /run/podman/podman.sock",
        "it starts containers that are root",
        SOCKET,
    ),
    danger(
        "write /run/systemd/private",
        "it starts services as root",
        SOCKET,
    ),
    danger(
        "write /run/libvirt/libvirt-sock",
        "it starts programs as root",
        SOCKET,
    ),
    danger(
        "write /run/snapd.socket",
        "it installs programs that run as root",
        SOCKET,
    ),
];

const CALLS: &str = "name the system calls that need it, or the action in its own section";
const OTHER: &str = "name the program that is meant; `ptrace` with `[read]` looks without touching";

const KERNEL: [Danger; 14] = [
    danger(
        "write /proc/sys/kernel/core_pattern",
        "the kernel runs what it names as root",
        FEWER,
    ),
    danger(
        "write /proc/sys/kernel/modprobe",
        "the kernel runs what it names as root",
        FEWER,
    ),
    danger(
        "write /sys/kernel/uevent_helper",
        "the kernel runs what it names as root",
        FEWER,
    ),
    danger("write /sys/power/state", "it puts the host to sleep", FEWER),
    danger(
        "open-device char 1:1 write",
        "it writes the memory of the machine",
        "remove the line",
    ),
    danger(
        "open-device char 1:4 write",
        "it writes the ports of the machine",
        "remove the line",
    ),
    danger("capability SYS_ADMIN", "it is root in all but name", CALLS),
    danger(
        "capability SYS_MODULE init_module",
        "it loads code into the kernel",
        CALLS,
    ),
    danger(
        "capability SYS_RAWIO iopl",
        "it reaches the ports of the machine",
        CALLS,
    ),
    danger(
        "capability SYS_BOOT kexec_load",
        "it boots another kernel",
        CALLS,
    ),
    danger(
        "bpf prog_load",
        "its programs read the memory of every process",
        "remove the command",
    ),
    danger(
        "ptrace attach /usr/lib/systemd/systemd",
        "it runs code as the host's init",
        OTHER,
    ),
    danger(
        "ptrace attach /sbin/init",
        "it runs code as the host's init",
        OTHER,
    ),
    danger(
        "ptrace attach /usr/sbin/sshd",
        "it runs code as root",
        OTHER,
    ),
];

const PART: &str = "remove it, unless the container may do everything on this host";

const PARTS: [Danger; 16] = [
    danger(
        "sysctl write kernel.core_pattern",
        "the kernel runs what it names as root",
        PART,
    ),
    danger(
        "sysctl write fs.suid_dumpable",
        "programs of root leave their memory where others read it",
        PART,
    ),
    danger("kernel kexec", "it boots another kernel", PART),
    danger("kernel reboot", "it ends everything on the host", PART),
    danger(
        "kernel swap",
        "the kernel writes the memory of every process to a file that it names",
        PART,
    ),
    danger(
        "kernel perf",
        "it watches the kernel and every process",
        PART,
    ),
    danger(
        "lockdown dev_mem",
        "it reaches the memory of the machine",
        PART,
    ),
    danger(
        "lockdown ioport",
        "it reaches the ports of the machine",
        PART,
    ),
    danger(
        "lockdown msr",
        "it changes registers of the processor",
        PART,
    ),
    danger(
        "lockdown pci_access",
        "devices that it sets up write to any memory",
        PART,
    ),
    danger(
        "mount_setattr",
        "it takes `ro` and `nosuid` off every mount that it sees",
        PART,
    ),
    danger(
        "device-ioctl SG_IO block 8:0",
        "raw commands to a disk go round what `files` lines say",
        PART,
    ),
    danger(
        "device-ioctl LOOP_SET_FD block 7:0",
        "a loop device shows whatever file it is set to",
        PART,
    ),
    danger(
        "device-ioctl TIOCSTI char 4:1",
        "it types into the terminal of somebody else",
        PART,
    ),
    danger("ipc keys write", "it changes keys that the host uses", PART),
    danger(
        "ipc shm write",
        "it changes memory that programs of the host share",
        PART,
    ),
];

const PROCESSES: [Danger; 6] = [
    danger(
        "ptrace process_vm_writev /usr/lib/systemd/systemd",
        "it runs code as the host's init",
        OTHER,
    ),
    danger(
        "ptrace process_vm_writev /sbin/init",
        "it runs code as the host's init",
        OTHER,
    ),
    danger(
        "ptrace pidfd_getfd /usr/lib/systemd/systemd",
        "it takes what the host's init has open",
        OTHER,
    ),
    danger(
        "ptrace pidfd_getfd /sbin/init",
        "it takes what the host's init has open",
        OTHER,
    ),
    danger(
        "setns mnt /usr/lib/systemd/systemd",
        "it is among the files and mounts of the host",
        OTHER,
    ),
    danger(
        "setns mnt /sbin/init",
        "it is among the files and mounts of the host",
        OTHER,
    ),
];

const SECRET: &str = "add a line for it with `allow: none`, or grant less";

const SECRETS: [Danger; 6] = [
    danger(
        "read /etc/shadow",
        "it holds the passwords of every account",
        SECRET,
    ),
    danger(
        "read /root/.ssh/id_rsa",
        "keys there open other hosts",
        SECRET,
    ),
    danger(
        "read /etc/ssh/ssh_host_rsa_key",
        "with it, others pass for this host",
        SECRET,
    ),
    danger(
        "read /etc/kubernetes/admin.conf",
        "it governs the whole cluster",
        SECRET,
    ),
    danger(
        "ipc keys read",
        "keys of the host open disks and network shares",
        "grant `search`, or leave the key to whoever made it",
    ),
    danger(
        "ptrace process_vm_readv /usr/sbin/sshd",
        "its memory holds the keys of this host",
        OTHER,
    ),
];
