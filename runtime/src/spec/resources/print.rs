//! Limits as words, for a plan that is printed.

use super::Resources;

impl Resources {
    /// One word or two for each value that is set, in the order of the configuration.
    pub fn words(&self) -> Vec<String> {
        let mut words = self.memory_and_cpu();
        let io = &self.block_io;
        let weight = |name: &str, value: Option<u16>| value.map(|value| format!("{name} {value}"));
        words.extend(weight("io.weight", io.weight));
        words.extend(weight("io.leaf_weight", io.leaf_weight));
        for one in &io.weight_devices {
            words.extend(weight(&format!("io.weight {}", one.device), one.weight));
            words.extend(weight(
                &format!("io.leaf_weight {}", one.device),
                one.leaf_weight,
            ));
        }
        for (name, rates) in [
            ("read_bps", &io.read_bps),
            ("write_bps", &io.write_bps),
            ("read_iops", &io.read_iops),
            ("write_iops", &io.write_iops),
        ] {
            words.extend(
                rates
                    .iter()
                    .map(|one| format!("io.{name} {} {}", one.device, one.rate)),
            );
        }
        let pages = self.hugepages.iter();
        words.extend(pages.map(|one| format!("hugepages.{} {}", one.page_size, one.limit)));
        let class = self.network.class_id;
        words.extend(class.map(|class| format!("network.class {class:#x}")));
        let priorities = self.network.priorities.iter();
        words.extend(priorities.map(|(name, value)| format!("network.priority {name} {value}")));
        for one in &self.rdma {
            let number = |all: Option<u32>| all.map_or("max".to_owned(), |all| all.to_string());
            let (handles, objects) = (number(one.handles), number(one.objects));
            words.push(format!("rdma {} {handles} {objects}", one.device));
        }
        let unified = self.unified.iter();
        words.extend(unified.map(|(file, value)| format!("{file} {value:?}")));
        words.extend(self.devices.iter().map(|rule| {
            let verb = if rule.allow { "allow" } else { "deny" };
            format!("{verb} device {rule}")
        }));
        words
    }

    fn memory_and_cpu(&self) -> Vec<String> {
        let (memory, cpu) = (&self.memory, &self.cpu);
        let signed = |name: &str, value: Option<i64>| value.map(|value| format!("{name} {value}"));
        let number = |name: &str, value: Option<u64>| value.map(|value| format!("{name} {value}"));
        let text = |name: &str, value: &Option<String>| {
            let value = value.as_ref();
            value.map(|value| format!("{name} {value}"))
        };
        let no_killer = memory.disable_oom_killer;
        let all = [
            signed("memory", memory.limit),
            signed("memory.reservation", memory.reservation),
            signed("memory.swap", memory.swap),
            signed("memory.kernel_tcp", memory.kernel_tcp),
            number("memory.swappiness", memory.swappiness),
            no_killer.then(|| "memory.no_oom_killer".to_owned()),
            signed("pids", self.pids_limit),
            signed("cpu.quota_us", cpu.quota_us),
            number("cpu.period_us", cpu.period_us),
            number("cpu.burst_us", cpu.burst_us),
            number("cpu.shares", cpu.shares),
            signed("cpu.realtime_runtime_us", cpu.realtime_runtime_us),
            number("cpu.realtime_period_us", cpu.realtime_period_us),
            text("cpu.cpus", &cpu.cpus),
            text("cpu.mems", &cpu.mems),
            cpu.idle.map(|idle| format!("cpu.idle {}", u8::from(idle))),
        ];
        all.into_iter().flatten().collect()
    }
}
