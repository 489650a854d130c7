use super::*;
use crate::model::{Machine, NEIGHBOUR, Neighbour};

struct Setup {
    machine: Machine,
    neighbour: Rc<Neighbour>,
    foreign: Foreign,
}

fn setup() -> Setup {
    let machine = Machine::new(1);
    let neighbour = Neighbour::new(&machine.world);
    let foreign = Foreign::new(&machine.attachment, neighbour.clone());
    Setup { machine, neighbour, foreign }
}

impl Setup {
    fn own_page(&self) -> SharedPage {
        mirage_rt::page::Page::take(&self.machine.pool()).expect("there are pages").into()
    }
}

#[test]
fn copies_go_both_ways_and_each_has_its_own_result() {
    let setup = setup();
    let (page, memory) = setup.neighbour.grant(true);
    let (read_only, constant) = setup.neighbour.grant(false);
    let (ended, _) = setup.neighbour.grant(true);
    setup.neighbour.end(ended);
    memory.copy_in(100, b"from the neighbour");
    constant.copy_in(4090, b"edge");
    let own = setup.own_page();
    own.bytes().copy_in(0, b"to the neighbour");

    let mut copies = setup.foreign.copies();
    copies.read(page, 100, &own, 200, 18).unwrap();
    copies.write(page, 500, &own, 0, 16).unwrap();
    copies.write(read_only, 0, &own, 0, 16).unwrap();
    copies.read(read_only, 4090, &own, 4092, 4).unwrap();
    copies.read(ended, 0, &own, 0, 4).unwrap();
    copies.read(ForeignPage { domain: DomainId(9), reference: 0 }, 0, &own, 0, 4).unwrap();
    copies.read(ForeignPage { domain: NEIGHBOUR, reference: 999 }, 0, &own, 0, 4).unwrap();
    let results: Vec<_> = copies.run().unwrap().collect();
    assert_eq!(
        results,
        [
            Ok(()),
            Ok(()),
            Err(GrantStatus::PermissionDenied),
            Ok(()),
            Err(GrantStatus::BadReference),
            Err(GrantStatus::BadDomain),
            Err(GrantStatus::BadReference),
        ]
    );
    let mut bytes = [0; 18];
    own.bytes().copy_out(200, &mut bytes);
    assert_eq!(&bytes, b"from the neighbour");
    memory.copy_out(500, &mut bytes[..16]);
    assert_eq!(&bytes[..16], b"to the neighbour");
    own.bytes().copy_out(4092, &mut bytes[..4]);
    assert_eq!(&bytes[..4], b"edge");
}

#[test]
fn ranges_are_checked_before_xen_sees_them() {
    let setup = setup();
    let (page, _) = setup.neighbour.grant(true);
    let own = setup.own_page();
    let mut copies = setup.foreign.copies();
    for (offset, own_offset, length) in
        [(1, 0, 4096), (0, 1, 4096), (0, 0, 4097), (5000, 0, 0), (usize::MAX, 0, 2), (0, 4095, usize::MAX)]
    {
        assert_eq!(copies.read(page, offset, &own, own_offset, length), Err(ForeignError::BadRange));
    }
    copies.read(page, 0, &own, 0, 4096).unwrap();
    copies.write(page, 4096, &own, 4096, 0).unwrap();
    assert_eq!(copies.run().unwrap().collect::<Vec<_>>(), [Ok(()), Ok(())]);
    setup.neighbour.refuse_calls(true);
    assert!(matches!(setup.foreign.copies().run().map(|_| ()), Err(ForeignError::Hypercall(_))));
}

#[test]
fn mappings_live_as_long_as_their_values() {
    let setup = setup();
    let (page, memory) = setup.neighbour.grant(true);
    let (read_only, _) = setup.neighbour.grant(false);
    let mapping = setup.foreign.map(page, true).unwrap();
    memory.copy_in(8, b"shared");
    let mut bytes = [0; 6];
    mapping.copy_out(8, &mut bytes);
    assert_eq!(&bytes, b"shared");
    mapping.bytes().expect("it is writable").copy_in(0, b"answer");
    memory.copy_out(0, &mut bytes);
    assert_eq!(&bytes, b"answer");
    let denied = setup.foreign.map(read_only, true).map(drop);
    assert_eq!(denied, Err(ForeignError::Grant(GrantStatus::PermissionDenied)));
    let reader = setup.foreign.map(read_only, false).unwrap();
    assert!(reader.bytes().is_none());
    assert_eq!(setup.neighbour.mappings(), 2);
    drop((mapping, reader));
    assert_eq!(setup.neighbour.mappings(), 0);
}

#[test]
fn a_mapping_of_before_a_resume_is_only_forgotten() {
    let setup = setup();
    let (page, _) = setup.neighbour.grant(true);
    let before = setup.foreign.map(page, true).unwrap();
    setup.machine.attachment.reestablish().expect("the model refuses nothing");
    let after = setup.foreign.map(page, true).unwrap();
    drop(before);
    assert_eq!(setup.neighbour.mappings(), 1);
    drop(after);
    assert_eq!(setup.neighbour.mappings(), 0);
}

#[test]
fn every_status_has_a_name() {
    let statuses = (-13..=0).map(GrantStatus::check);
    assert_eq!(statuses.filter(|status| matches!(status, Err(GrantStatus::Other(_)))).count(), 5);
    assert_eq!(GrantStatus::check(0), Ok(()));
}
