use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::model::{BackRing, World};
use mirage_rt::page::Page;

/// Requests and responses of one number; 24 bytes, so that there are 128 slots and an unused rest.
struct Numbers;

impl Protocol for Numbers {
    const SLOT: usize = 24;
    type Request = u32;
    type Response = u32;

    fn write_request(slot: Slot<'_>, request: &u32) {
        slot.write_words(20, &request.to_le_bytes());
    }

    fn read_response(slot: Slot<'_>) -> u32 {
        u32::from_le_bytes(slot.read_words(0))
    }

    fn read_request(slot: Slot<'_>) -> u32 {
        u32::from_le_bytes(slot.read_words(20))
    }

    fn write_response(slot: Slot<'_>, response: &u32) {
        slot.write_words(0, &response.to_le_bytes());
    }
}

/// A backend's view of a page that the frontend holds by value.
struct Same(SharedBytes<'static>);

impl RingMemory for Same {
    fn bytes(&self) -> SharedBytes<'_> {
        self.0
    }
}

fn rings(index: u32) -> (FrontRing<Numbers, Same>, BackRing<Numbers, Same>) {
    let memory = World::new().xenstore_end().0;
    let front = FrontRing::starting_at(Same(memory), index);
    (front, BackRing::new(Same(memory)))
}

#[test]
fn the_size_is_the_largest_power_of_two_that_fits() {
    assert_eq!(slots::<Numbers>(), 128);
}

#[test]
fn a_full_ring_takes_no_request() {
    let (mut front, mut back) = rings(0xFFFF_FFF0);
    for number in 0..128 {
        assert!(front.push(&number));
    }
    assert!(!front.push(&128));
    assert_eq!(front.free(), 0);
    assert!(front.publish(), "the backend asked to be told of the first");
    assert!(!front.publish(), "nothing new");
    for number in 0..128 {
        assert_eq!(back.take().map(|(_, request)| request), Some(number));
    }
    assert!(back.take().is_none());
}

#[test]
fn more_responses_than_requests_are_reported() {
    for index in [0, 0xFFFF_FFF0] {
        let (mut front, mut back) = rings(index);
        assert!(front.push(&1) && front.push(&2));
        let _ = front.publish();
        // Written, but the backend can't know of it.
        assert!(front.push(&3));
        back.skip(3);
        back.publish();
        let expected = ProducerOverflow { claimed: 3, outstanding: 2 };
        assert_eq!(front.available(), Err(expected));
        assert_eq!(front.listen(1), Err(expected));
        assert!(front.take().is_none());
    }
}

#[test]
fn a_response_index_that_goes_back_is_reported() {
    let (mut front, mut back) = rings(0);
    assert!(front.push(&1));
    let _ = front.publish();
    back.skip(u32::MAX);
    back.publish();
    assert_eq!(front.available(), Err(ProducerOverflow { claimed: u32::MAX, outstanding: 1 }));
}

#[test]
fn a_page_given_up_is_private_again() {
    let pool = World::new().pool();
    let free = pool.available();
    let page = SharedPage::from(Page::take(&pool).expect("the pool is fresh"));
    let ring = FrontRing::<Numbers, SharedPage>::new(page);
    drop(ring.into_memory().into_page());
    assert_eq!(pool.available(), free);
}

#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    Publish,
    Take(u8),
    Listen(u8),
    Serve(u8),
    Answer,
    BackListen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..24_u8).prop_map(Step::Push),
        Just(Step::Publish),
        (0..24_u8).prop_map(Step::Take),
        (1..40_u8).prop_map(Step::Listen),
        (0..24_u8).prop_map(Step::Serve),
        Just(Step::Answer),
        Just(Step::BackListen),
    ]
}

proptest! {
    /// Requests come out as they went in, responses too, across the wrap of the indices; and whoever listens is notified.
    #[test]
    fn order_and_wake_ups_hold(start in prop_oneof![Just(0_u32), Just(0xFFFF_FFF0)], steps in prop::collection::vec(step(), 1..200)) {
        let (mut front, mut back) = rings(start);
        let (mut next, mut unpublished, mut visible) = (0_u32, VecDeque::new(), VecDeque::new());
        let (mut served, mut answered): (VecDeque<u32>, VecDeque<u32>) = Default::default();
        // Responses after which the sleeping frontend must have been notified; whether the backend sleeps.
        let (mut front_sleeps, mut back_sleeps) = (None::<u32>, true);
        for step in steps {
            match step {
                Step::Push(count) => for _ in 0..count {
                    let room = front.free() > 0;
                    prop_assert_eq!(front.push(&next), room);
                    if room { unpublished.push_back(next); next += 1; }
                },
                Step::Publish => {
                    let news = !unpublished.is_empty();
                    visible.append(&mut unpublished);
                    let notify = front.publish();
                    if news && back_sleeps { prop_assert!(notify); back_sleeps = false; }
                }
                Step::Serve(count) => for _ in 0..count {
                    let request = back.take().map(|(_, request)| request);
                    prop_assert_eq!(request, visible.pop_front());
                    let Some(request) = request else { break };
                    back.push(&(request ^ 0x5555));
                    served.push_back(request ^ 0x5555);
                },
                Step::Answer => {
                    let notify = back.publish();
                    answered.append(&mut served);
                    if front_sleeps.is_some_and(|distance| answered.len() as u32 >= distance) {
                        prop_assert!(notify);
                        front_sleeps = None;
                    }
                }
                Step::Take(count) => for _ in 0..count {
                    if front.available().expect("honest") == 0 { prop_assert!(answered.is_empty()); break; }
                    prop_assert_eq!(front.take().map(Untrusted::for_any_value), answered.pop_front());
                    front_sleeps = None;
                },
                Step::Listen(distance) => {
                    let there = front.listen(u32::from(distance)).expect("honest");
                    prop_assert!(there as usize <= answered.len());
                    front_sleeps = (answered.is_empty()).then_some(u32::from(distance));
                }
                Step::BackListen => back_sleeps = back.listen() == 0,
            }
            prop_assert_eq!(front.outstanding() as usize, unpublished.len() + visible.len() + served.len() + answered.len());
        }
    }
}
