//! A compact table of 64-bit keys and values: 16 to 23 bytes for each.

/// Shards by the key's first byte: one of them grows at a time, so growing takes little beside.
const SHARDS: usize = 256;
/// What a free slot has for a value.
const FREE: u64 = u64::MAX;

/// Values by keys that are spread evenly over all of `u64`; a key may have several.
#[derive(Debug)]
pub(super) struct Table {
    shards: Vec<Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    slots: Vec<(u64, u64)>,
    used: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            shards: std::iter::repeat_with(Shard::default)
                .take(SHARDS)
                .collect(),
        }
    }
}

impl Table {
    /// Adds a value, which is not `u64::MAX`, to those of a key.
    pub(super) fn insert(&mut self, key: u64, value: u64) {
        debug_assert_ne!(value, FREE);
        let shard = &mut self.shards[(key >> 56) as usize];
        // Between 7 and 8.75 slots for each 6.125 values.
        if shard.used * 8 >= shard.slots.len() * 7 {
            shard.grow();
        }
        shard.put(key, value);
        shard.used += 1;
    }

    /// The values of a key, in no order.
    pub(super) fn values(&self, key: u64) -> impl Iterator<Item = u64> + '_ {
        let slots = &self.shards[(key >> 56) as usize].slots;
        let (head, tail) = slots.split_at(home(key, slots.len()));
        tail.iter()
            .chain(head)
            .take_while(|(_, value)| *value != FREE)
            .filter(move |(found, _)| *found == key)
            .map(|(_, value)| *value)
    }

    /// How many values it has.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.used).sum()
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let slots: usize = self.shards.iter().map(|s| s.slots.capacity()).sum();
        slots * size_of::<(u64, u64)>() + SHARDS * size_of::<Shard>()
    }
}

impl Shard {
    /// To five quarters; there are free slots always, so that a search ends.
    fn grow(&mut self) {
        let len = self.slots.len() + self.slots.len() / 4 + 8;
        let old = std::mem::replace(&mut self.slots, vec![(0, FREE); len]);
        for (key, value) in old.into_iter().filter(|(_, value)| *value != FREE) {
            self.put(key, value);
        }
    }

    fn put(&mut self, key: u64, value: u64) {
        let (len, mut at) = (self.slots.len(), home(key, self.slots.len()));
        while self.slots[at].1 != FREE {
            at = if at + 1 == len { 0 } else { at + 1 };
        }
        self.slots[at] = (key, value);
    }
}

/// Where a key is looked for first, among `len` slots.
fn home(key: u64, len: usize) -> usize {
    ((u128::from(key << 8) * len as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::Table;

    #[test]
    fn it_has_what_was_put_in_and_stays_compact() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut table, mut model) = (Table::default(), HashMap::<u64, Vec<u64>>::new());
        let mut keys = Vec::new();
        for count in 1..=200_000_u64 {
            // Some keys come again, and some are crowded together.
            let key = match rng.random_range(0..20) {
                0 if !keys.is_empty() => keys[rng.random_range(0..keys.len())],
                1 => u64::MAX - rng.random_range(0..1000),
                _ => rng.random(),
            };
            keys.push(key);
            table.insert(key, count);
            model.entry(key).or_default().push(count);
            if count % 10_000 == 0 {
                let each = table.bytes() as f64 / table.len() as f64;
                assert!((16.0..=24.0).contains(&each), "{each} bytes for each");
            }
        }
        assert_eq!(table.len(), 200_000);
        for (key, values) in &model {
            let mut found: Vec<u64> = table.values(*key).collect();
            found.sort_unstable();
            assert_eq!(found, *values);
            assert_eq!(table.values(key ^ (1 << 20)).count(), {
                model.get(&(key ^ (1 << 20))).map_or(0, Vec::len)
            });
        }
        assert_eq!(Table::default().values(7).count(), 0);
    }
}
