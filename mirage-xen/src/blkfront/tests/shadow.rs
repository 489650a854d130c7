//! Random work and random trouble, beside a shadow of what the disk must hold.

use proptest::prelude::*;

use super::*;

/// Requests that are under way together work on regions of their own, of so many pages.
const REGION: usize = 16;
const REGIONS: usize = 8;

/// What is known of a page of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    Zero,
    Pattern { seed: usize, number: usize },
    Nothing,
}

impl Known {
    fn fits(self, page: &[u8]) -> bool {
        match self {
            Self::Zero => page.iter().all(|byte| *byte == 0),
            Self::Pattern { seed, number } => *page == pattern(seed, number),
            Self::Nothing => true,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Ask {
    Write { first: usize, count: usize, fua: bool },
    Read { first: usize, count: usize },
    Discard { first: usize, count: usize, erase: bool },
    Flush,
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    Close,
    Restart,
    Quiesce,
    Resume,
    Detach,
    Fail(u32),
    Slow(u64),
    Segments(u32),
}

fn ask() -> impl Strategy<Value = Ask> {
    let range = (0..REGION, 1..REGION + 1).prop_map(|(first, count)| (first, count.min(REGION - first)));
    prop_oneof![
        4 => (range.clone(), any::<bool>()).prop_map(|((first, count), fua)| Ask::Write { first, count, fua }),
        4 => range.clone().prop_map(|(first, count)| Ask::Read { first, count }),
        1 => (range, any::<bool>()).prop_map(|((first, count), erase)| Ask::Discard { first, count, erase }),
        1 => Just(Ask::Flush),
    ]
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        4 => Just(Trouble::None),
        1 => Just(Trouble::Close),
        1 => Just(Trouble::Restart),
        1 => Just(Trouble::Quiesce),
        1 => Just(Trouble::Resume),
        1 => Just(Trouble::Detach),
        1 => (1..4_u32).prop_map(Trouble::Fail),
        2 => prop_oneof![Just(0), 1..2_000_000_u64].prop_map(Trouble::Slow),
        1 => prop_oneof![Just(0), Just(12), Just(256)].prop_map(Trouble::Segments),
    ]
}

struct Shadow {
    cache: Vec<Known>,
    medium: Vec<Known>,
}

impl Shadow {
    fn request(&self, device: &Blkfront, region: usize, seed: usize, ask: Ask) -> Request {
        let per_page = device.info().sectors_per_page();
        let sector = |first| ((region * REGION + first) as u64) * per_page;
        match ask {
            Ask::Write { first, count, fua } => Request::write(sector(first), filled(&device.pool(), count, seed), fua),
            Ask::Read { first, count } => Request::read(sector(first), empty(&device.pool(), count)),
            Ask::Discard { first, count, erase: false } => Request::discard(sector(first), count as u64 * per_page),
            Ask::Discard { first, count, erase: true } => Request::erase(sector(first), count as u64 * per_page),
            Ask::Flush => Request::flush(),
        }
    }

    /// Takes over how a request ended.
    fn learn(&mut self, region: usize, seed: usize, ask: Ask, (result, pages): Done) {
        let known = |number| match (ask, result) {
            (Ask::Write { .. }, Ok(())) => Known::Pattern { seed, number },
            (_, Ok(())) => Known::Zero,
            (_, Err(_)) => Known::Nothing,
        };
        match ask {
            Ask::Write { first, count, .. } | Ask::Discard { first, count, .. } => {
                let durable = matches!(ask, Ask::Write { fua: true, .. });
                for number in 0..count {
                    let page = region * REGION + first + number;
                    self.cache[page] = known(number);
                    self.medium[page] = if durable { known(number) } else { Known::Nothing };
                }
            }
            Ask::Read { first, count } => {
                assert_eq!(pages.len(), count);
                for (number, page) in pages.iter().enumerate().filter(|_| result.is_ok()) {
                    let known = self.cache[region * REGION + first + number];
                    assert!(known.fits(&page[..]), "page {number} of region {region} is not {known:?}");
                }
            }
            Ask::Flush => {}
        }
    }

    fn compare(&self, blkback: &Blkback) {
        for (place, (known, content)) in
            [(&self.cache, blkback.content()), (&self.medium, blkback.medium())].iter().enumerate()
        {
            for (number, (known, page)) in known.iter().zip(content.chunks_exact(4096)).enumerate() {
                assert!(known.fits(page), "page {number} is not {known:?} in the {}", ["cache", "medium"][place]);
            }
        }
    }
}

async fn make(machine: &Machine, blkback: &Blkback, control: &Control, trouble: Trouble) {
    match trouble {
        Trouble::None => {}
        Trouble::Close => blkback.close(),
        Trouble::Restart => blkback.restart(),
        Trouble::Quiesce => {
            control.quiesce().await;
            assert_nothing_left(machine);
            control.connect(&machine.attachment).await.expect("the backend is there");
        }
        Trouble::Resume => {
            blkback.restart();
            machine.world.forget_guest();
            machine.attachment.reestablish().expect("the model refuses nothing");
            control.connect(&machine.attachment).await.expect("the new backend is there");
        }
        Trouble::Detach => {
            blkback.detach();
            while !control.is_detached() {
                mirage_rt::time::sleep(Duration::from_micros(100)).await;
            }
            settle(machine).await;
            blkback.attach_again(&machine.world);
            while !control.is_connected() {
                mirage_rt::time::sleep(Duration::from_micros(100)).await;
            }
        }
        Trouble::Fail(count) => blkback.fail(count),
        Trouble::Slow(nanoseconds) => blkback.slow(nanoseconds),
        Trouble::Segments(segments) => blkback.offer(|features| features.indirect = segments),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// What was reported as done is on the disk, and on its medium if it was flushed, whatever happened to the connection.
    #[test]
    fn the_disk_holds_what_was_reported(
        rounds in prop::collection::vec((prop::collection::vec(ask(), 0..REGIONS), trouble(), 0..4_u8), 1..16),
        large in any::<bool>(),
        persistent in any::<bool>(),
        flush in any::<bool>(),
        ring_order in 0..3_u32,
        first_index in prop_oneof![Just(0), Just(0xFFFF_FFF0)],
    ) {
        let sector_size = if large { 4096 } else { 512 };
        let features = DiskFeatures { bytes: REGIONS * REGION * 4096, sector_size, flush, ..DiskFeatures::default() };
        let (machine, blkback) = machine(features);
        machine.run(async {
            let options = Options { persistent, ring_order, first_index, segments: 64, ..Options::default() };
            let device = connect(&machine, options).await;
            let control = device.control();
            let unwritten = || [Known::Zero; REGIONS * REGION].to_vec();
            let mut shadow = Shadow { cache: unwritten(), medium: unwritten() };
            for (round, (asks, trouble, settled)) in rounds.into_iter().enumerate() {
                let seed = |region| round * REGIONS + region;
                let completions: Vec<_> = asks
                    .iter()
                    .enumerate()
                    .map(|(region, ask)| device.submit(shadow.request(&device, region, seed(region), *ask)))
                    .collect();
                for _ in 0..settled {
                    yield_now().await;
                }
                make(&machine, &blkback, &control, trouble).await;
                for (region, (ask, completion)) in asks.into_iter().zip(completions).enumerate() {
                    let done = completion.await;
                    let expected = match trouble {
                        Trouble::Detach => done.0 == Err(BlockError::Detached),
                        // Also one of an earlier round may be left.
                        _ => done.0 == Err(BlockError::Io),
                    };
                    assert!(done.0.is_ok() || expected, "{ask:?} with {trouble:?}: {:?}", done.0);
                    shadow.learn(region, seed(region), ask, done);
                }
                blkback.fail(0);
                if round % 3 == 2 {
                    let (result, _) = device.submit(Request::flush()).await;
                    assert_eq!(result, Ok(()));
                    shadow.medium.copy_from_slice(&shadow.cache);
                }
                shadow.compare(&blkback);
            }
            assert_eq!(control.broken(), None);
            control.quiesce().await;
        });
        prop_assert_eq!(machine.attachment.grants().quarantined(), 0);
        assert_nothing_left(&machine);
        prop_assert!(blkback.refused().is_empty(), "{:?}", blkback.refused());
    }
}
