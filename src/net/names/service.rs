//! The order of a service's targets (RFC 2782, DNS-04, DNS-05). Pure: random numbers come in.

/// Records of one service that are looked at, those of the best priority first.
const RECORDS_MAX: usize = 256;

/// What a weight of 1 counts where one of 0 counts 1: such a target is chosen rarely, but it is.
const WEIGHT_UNIT: u64 = 100;

/// One SRV record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Service {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    /// Lower case, without the last dot; empty: no such service.
    pub target: String,
}

/// By priority, the lowest first; within one by draws whose odds are the weights. Empty if the service is not offered.
pub(super) fn in_order(mut records: Vec<Service>, random: &mut dyn FnMut() -> u64) -> Vec<Service> {
    records.retain(|record| !record.target.is_empty());
    records.sort_by_key(|record| record.priority);
    records.truncate(RECORDS_MAX);
    let mut ordered: Vec<Service> = Vec::new();
    while let Some(first) = records.first() {
        let of_one = records.partition_point(|record| record.priority == first.priority);
        let rest = records.split_off(of_one);
        while !records.is_empty() {
            ordered.push(records.remove(draw(&records, random)));
        }
        records = rest;
    }
    ordered
}

fn draw(records: &[Service], random: &mut dyn FnMut() -> u64) -> usize {
    let share = |record: &Service| match record.weight {
        0 => 1,
        weight => u64::from(weight) * WEIGHT_UNIT,
    };
    let sum: u64 = records.iter().map(share).sum();
    let mut drawn = random() % sum;
    for (index, record) in records.iter().enumerate() {
        match drawn.checked_sub(share(record)) {
            Some(rest) => drawn = rest,
            None => return index,
        }
    }
    unreachable!("what was drawn is below the sum")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(priority: u16, weight: u16, target: &str) -> Service {
        Service {
            priority,
            weight,
            port: 2855,
            target: target.into(),
        }
    }

    /// A small generator (splitmix64): the same draws in every run.
    fn draws() -> impl FnMut() -> u64 {
        let mut state = 7_u64;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    fn firsts(records: &[Service], target: &str, rounds: usize) -> usize {
        let mut random = draws();
        (0..rounds)
            .filter(|_| in_order(records.to_vec(), &mut random)[0].target == target)
            .count()
    }

    #[test]
    fn dns_04_weights_1_and_3_come_first_25_and_75_times_in_100() {
        let records = [service(1, 1, "a"), service(1, 3, "b")];
        let a = firsts(&records, "a", 10_000);
        assert!((2300..=2700).contains(&a), "{a}");
    }

    #[test]
    fn dns_04_weight_0_comes_first_rarely_and_does_all_the_same() {
        let records = [service(1, 0, "a"), service(1, 1, "b")];
        let a = firsts(&records, "a", 10_000);
        assert!((1..=200).contains(&a), "{a}");
        // Alone among themselves they are equal.
        let records = [service(1, 0, "a"), service(1, 0, "b")];
        let a = firsts(&records, "a", 10_000);
        assert!((4800..=5200).contains(&a), "{a}");
    }

    #[test]
    fn dns_04_the_lowest_priority_comes_first_and_all_records_come() {
        let records = vec![
            service(20, 65_535, "c"),
            service(10, 0, "a"),
            service(10, 1, "b"),
            service(30, 1, "d"),
        ];
        let mut random = draws();
        for _ in 0..100 {
            let ordered = in_order(records.clone(), &mut random);
            let mut first: Vec<&str> = ordered[..2].iter().map(|s| s.target.as_str()).collect();
            first.sort_unstable();
            assert_eq!(first, ["a", "b"]);
            assert_eq!(ordered[2].target, "c");
            assert_eq!(ordered[3].target, "d");
        }
    }

    #[test]
    fn dns_05_the_root_as_target_offers_nothing() {
        assert_eq!(in_order(vec![service(0, 0, "")], &mut || 0), []);
        let both = vec![service(0, 0, ""), service(1, 0, "a")];
        assert_eq!(in_order(both, &mut || 0), [service(1, 0, "a")]);
    }

    #[test]
    fn dns_04_a_record_set_without_end_is_cut() {
        let records = (0..5000_u16).rev().map(|n| service(n, n, "x")).collect();
        let ordered = in_order(records, &mut draws());
        assert_eq!(ordered.len(), RECORDS_MAX);
        assert_eq!(ordered[0].priority, 0);
    }
}
