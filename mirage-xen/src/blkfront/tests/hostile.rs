//! Backends that break the protocol.

use proptest::prelude::*;

use super::*;
use crate::ring::ProducerOverflow;
use crate::xenbus::State as XenbusState;

#[test]
fn nonsense_breaks_the_device_and_nothing_else() {
    let claimed = |claimed| Broken::Producer(ProducerOverflow { claimed, outstanding: 1 });
    let cases = [
        (DiskMischief::Producer, claimed(33), 0),
        (DiskMischief::Id(32), Broken::Id { id: 32 }, 0),
        (DiskMischief::Id(u64::MAX), Broken::Id { id: u64::MAX }, 0),
        (DiskMischief::Id(7), Broken::NotUnderWay { id: 7 }, 0),
        (DiskMischief::Twice, claimed(2), 0),
        (DiskMischief::Operation(0), Broken::Operation { said: 0, asked: 1 }, 0),
        (DiskMischief::Operation(6), Broken::Operation { said: 6, asked: 1 }, 0),
        (DiskMischief::Status(1), Broken::Status { status: 1 }, 0),
        (DiskMischief::Status(-3), Broken::Status { status: -3 }, 0),
        (DiskMischief::InUse, Broken::InUse, 1),
    ];
    for (mischief, expected, lost) in cases {
        let (machine, blkback) = machine(DiskFeatures::default());
        machine.run(async {
            let device = connect(&machine, lending()).await;
            let control = device.control();
            blkback.hold(true);
            blkback.provoke(mischief);
            let (result, pages) = device.submit(Request::write(0, filled(&device.pool(), 3, 1), false)).await;
            assert_eq!(result, Err(BlockError::Broken), "{mischief:?}");
            assert_eq!(pages.len(), 3 - lost, "{mischief:?}");
            assert_eq!(control.broken(), Some(expected), "{mischief:?}");
            assert_eq!(write(&device, 0, 1, 1, false).await, Err(BlockError::Broken));
            assert_eq!(device.submit(Request::flush()).await.0, Err(BlockError::Broken));
            settle(&machine).await;
            let error = machine.store.read("/local/domain/1/error/device/vbd/51712/error").unwrap_or_default();
            assert!(error.contains(&expected.to_string()), "{mischief:?}: {error}");
            control.quiesce().await;
            assert!(control.broken().is_some(), "for good");
            assert_eq!(machine.attachment.grants().quarantined(), lost as u32, "{mischief:?}");
            assert_eq!(machine.attachment.events().bound(), 1);
        });
        assert_eq!(machine.attachment.grants().in_use(), 0, "{mischief:?}");
    }
}

#[test]
fn one_answer_too_many_among_others_is_noticed() {
    let (machine, blkback) = machine(DiskFeatures::default());
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        blkback.hold(true);
        let completions: Vec<_> =
            (0..40).map(|number| device.submit(Request::read(number * 8, empty(&device.pool(), 1)))).collect();
        settle(&machine).await;
        blkback.provoke(DiskMischief::Twice);
        let mut results = Vec::new();
        for completion in completions {
            let (result, pages) = completion.await;
            assert_eq!(pages.len(), 1);
            results.push(result);
        }
        assert_eq!((results[0], results[1], results[39]), (Ok(()), Err(BlockError::Broken), Err(BlockError::Broken)));
        assert!(matches!(device.control().broken(), Some(Broken::NotUnderWay { .. })));
    });
    assert_eq!(machine.attachment.grants().in_use(), 0);
}

#[test]
fn an_event_channel_that_is_gone_breaks_the_device() {
    let (machine, _blkback) = machine(DiskFeatures::default());
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        machine.world.forget_guest();
        assert_eq!(write(&device, 0, 1, 1, false).await, Err(BlockError::Broken));
        assert_eq!(device.control().broken(), Some(Broken::EventChannel));
    });
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Scribble(DiskMischief),
    State(u32),
    Sectors(u64),
    Write(u8),
    Read(u8),
}

/// Words of the ring's page that matter, and numbers that do.
fn step() -> impl Strategy<Value = Step> {
    let word =
        prop_oneof![0..4_u16, (0..32_u16, 0..3_u16).prop_map(|(slot, word)| 16 + slot * 28 + word), any::<u16>()];
    let value = prop_oneof![
        0..40_u32,
        any::<u32>(),
        (0..40_u32).prop_map(|small| 0_u32.wrapping_sub(small)),
        (0..40_u32).prop_map(|small| 0xFFFF_FFF0_u32.wrapping_add(small)),
        (0..7_u32, 0..4_u32).prop_map(|(operation, status)| operation | 0_u32.wrapping_sub(status) << 16),
    ];
    prop_oneof![
        4 => (word, value).prop_map(|(word, value)| Step::Scribble(DiskMischief::Scribble { word, value })),
        1 => (0..10_u32).prop_map(Step::State),
        1 => prop_oneof![Just(0), 1..9_u64, any::<u64>()].prop_map(Step::Sectors),
        3 => (1..40_u8).prop_map(Step::Write),
        3 => (1..40_u8).prop_map(Step::Read),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    /// Whatever a backend writes into the ring and into xenstore: no panic, no request that is not answered when the
    /// device is dropped, and in the end every page and port is back or in quarantine.
    #[test]
    fn a_backend_may_write_anything(
        steps in prop::collection::vec(step(), 1..40),
        late in any::<bool>(),
        persistent in any::<bool>(),
    ) {
        let (machine, blkback) = machine(DiskFeatures::default());
        let path = "/local/domain/0/backend/vbd/1/51712";
        machine.run(async {
            let first_index = if late { 0xFFFF_FFF0 } else { 0 };
            let options = Options { first_index, persistent, ..Options::default() };
            let device = connect(&machine, options).await;
            let control = device.control();
            let mut completions = Vec::new();
            for step in steps {
                match step {
                    Step::Scribble(mischief) => blkback.provoke(mischief),
                    Step::State(number) => machine.store.write(&format!("{path}/state"), &number.to_string()),
                    Step::Sectors(number) => {
                        machine.store.write(&format!("{path}/sectors"), &number.to_string());
                        machine.store.write(&format!("{path}/state"), &u32::from(XenbusState::Connected).to_string());
                    }
                    Step::Write(count) => {
                        let pages = filled(&device.pool(), count.into(), 1);
                        completions.push((count, device.submit(Request::write(0, pages, count % 2 == 0))));
                    }
                    Step::Read(count) => {
                        let pages = empty(&device.pool(), count.into());
                        completions.push((count, device.submit(Request::read(0, pages))));
                    }
                }
                settle(&machine).await;
            }
            control.quiesce().await;
            drop(device);
            for (count, completion) in completions {
                let (result, pages) = completion.await;
                let intact = pages.len() == usize::from(count);
                assert!(intact || result == Err(BlockError::Broken), "{result:?} with {} pages", pages.len());
            }
            settle(&machine).await;
        });
        prop_assert_eq!(machine.attachment.grants().in_use(), 0);
        prop_assert_eq!(machine.attachment.events().bound(), 1);
    }
}
