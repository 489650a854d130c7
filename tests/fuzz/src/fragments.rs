//! Fragments of packets: what is put together is what was sent.

use std::net::IpAddr;

use mirage_rt::net::fragments::{COST, Fragment, Key, MOST_BYTES, MOST_PACKETS, Outcome, PATIENCE, Reassembly};
use mirage_rt::{Duration, Instant};

/// Bytes of one fragment's description: number, place, length, flags.
const STEP: usize = 6;

/// Fragments as the input describes them; each byte of a packet is a function of its place, but where a flag says otherwise.
pub fn fragments(input: &[u8]) {
    let address = IpAddr::V4([10, 0, 0, 1].into());
    let mut reassembly = Reassembly::default();
    let mut now = Instant::ZERO;
    for step in input.as_chunks::<STEP>().0 {
        let [number, high, low, long, short, flags] = *step;
        let offset = usize::from(u16::from_be_bytes([high, low]));
        let length = usize::from(u16::from_be_bytes([long & 0x0f, short]));
        let payload: Vec<u8> = (offset..offset + length).map(|at| (at as u8) ^ (flags & 2)).collect();
        let key = Key { source: address, destination: address, protocol: 17, identification: number.into() };
        let fragment = Fragment { offset, more: flags & 1 == 1, payload: &payload, protocol: 17, packet: &payload };
        match reassembly.add(now, key, &fragment) {
            Outcome::Whole(protocol, whole) => {
                assert!(protocol == 17 && whole.len() <= usize::from(u16::MAX));
                let is_its = |(at, byte): (usize, &u8)| *byte & !2 == at as u8 & !2;
                assert!(whole.iter().enumerate().all(is_its));
            }
            Outcome::Incomplete | Outcome::Dropped => {}
        }
        assert!(reassembly.bytes() <= MOST_BYTES && reassembly.len() <= MOST_PACKETS);
        assert_eq!(reassembly.is_empty(), reassembly.deadline().is_none());
        if flags & 4 != 0 {
            now += Duration::from_secs(10);
            while let Some((_, quote)) = reassembly.expired(now) {
                assert!(quote.len() <= 128);
            }
        }
    }
    while reassembly.expired(now + PATIENCE).is_some() {}
    assert!(reassembly.is_empty() && reassembly.bytes() == 0 && reassembly.deadline().is_none() && COST > 0);
}

/// Packets in order, the other way round, with overlaps, holes, ends that contradict each other, and too many of them.
pub fn seeds() -> Vec<Vec<u8>> {
    let step = |number: u8, place: u16, length: u16, flags: u8| {
        let ([high, low], [long, short]) = (place.to_be_bytes(), length.to_be_bytes());
        [number, high, low, long, short, flags]
    };
    let join = |steps: &[[u8; STEP]]| steps.concat();
    let many: Vec<_> = (0..200).map(|number| step(1, number * 16, 8, 1)).collect();
    let packets: Vec<_> = (0..100).map(|number| step(number, 0, 4088, 1)).collect();
    let long: Vec<_> = (0..90).map(|number| step(number % 3, 4088 * (u16::from(number) / 3 % 16), 4088, 1)).collect();
    vec![
        join(&[step(1, 0, 16, 1), step(1, 16, 5, 0)]),
        join(&[step(1, 16, 5, 0), step(1, 0, 16, 1)]),
        join(&[step(1, 0, 16, 1), step(1, 0, 16, 1), step(1, 16, 5, 0)]),
        join(&[step(1, 0, 16, 1), step(1, 0, 16, 3), step(1, 16, 5, 0)]),
        join(&[step(1, 0, 16, 1), step(1, 8, 16, 1), step(1, 24, 5, 0)]),
        join(&[step(1, 8, 16, 1), step(1, 0, 16, 1)]),
        join(&[step(1, 0, 16, 1), step(1, 32, 5, 0), step(1, 48, 8, 1), step(1, 16, 8, 0)]),
        join(&[step(1, 32, 8, 1), step(1, 16, 8, 0)]),
        join(&[step(1, 0, 8, 5), step(2, 8, 8, 5), step(1, 8, 3, 4), step(3, 0, 8, 5), step(4, 0, 8, 5)]),
        join(&[step(1, 0, 0, 1), step(1, 4, 8, 1), step(1, 0, 7, 1), step(1, 65_528, 8, 0), step(1, 65_528, 7, 0)]),
        join(&many),
        join(&packets),
        join(&long),
        vec![1, 2, 3],
    ]
}
