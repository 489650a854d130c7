use proptest::prelude::*;

use super::*;
use crate::boot::start_info::{StartInfo, StartInfoError};
use crate::memory::tables::tests::Tables;
use crate::memory::tables::{PageTables, map_all};
use crate::memory::{ImageLayout, Kind, Region};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const IMAGE: Range<u64> = MIB..MIB + 0x8_0000;

impl Plan {
    /// What must hold of every plan.
    pub(crate) fn check(&self, info: &StartInfo, image: Range<u64>) -> Result<(), TestCaseError> {
        let ram = info.map.ram(HIGHEST);
        let modules: Vec<_> = info.modules.iter().filter(|module| !module.is_empty()).collect();
        let apart = |a: &Range<u64>, b: &Range<u64>| a.end <= b.start || b.end <= a.start;
        for range in self.free.iter().chain([self.storage.clone(), self.stack.clone()]) {
            prop_assert!(ram.covers(&range), "{range:#x?} is no RAM");
            prop_assert!(range.start >= PAGE && range.start % PAGE == 0 && range.end % PAGE == 0, "{range:#x?}");
            prop_assert!(range.end / PAGE <= self.frames as u64);
            for taken in modules.iter().chain([&image]) {
                prop_assert!(apart(&range, taken), "{range:#x?} is in use: {taken:#x?}");
            }
        }
        prop_assert!(self.storage.end <= EARLY_LIMIT && self.stack.end <= EARLY_LIMIT);
        prop_assert!(self.free.iter().all(|range| apart(&range, &self.storage) && apart(&range, &self.stack)));
        prop_assert!(apart(&self.storage, &self.stack));
        prop_assert_eq!(self.stack.end - self.stack.start, PAGE + STACK_SIZE as u64);
        let split: u64 = self.free(true).chain(self.free(false)).map(|range| range.end - range.start).sum();
        prop_assert_eq!(split, self.free.total());
        prop_assert!(self.window >= EARLY_LIMIT && info.map.regions().iter().all(|region| region.end <= self.window));
        Ok(())
    }
}

fn with(regions: &[(u64, u64, Kind)]) -> StartInfo {
    let mut info = StartInfo::default();
    for &(start, end, kind) in regions {
        assert!(info.map.add(Region { start, end, kind }));
    }
    info
}

fn planned(regions: &[(u64, u64, Kind)]) -> Plan {
    let info = with(regions);
    let plan = Plan::new(&info.map, IMAGE, &info.modules).expect("the map is a machine's").expect("there is room");
    plan.check(&info, IMAGE).expect("the plan is sound");
    plan
}

/// As Xen's builder makes it for a PVH domain of this size: a hole below 4 GiB for devices, and special pages in it.
fn pvh(size: u64) -> Vec<(u64, u64, Kind)> {
    const HOLE: u64 = 0xF000_0000;
    let mut regions = vec![
        (0, size.min(HOLE), Kind::Ram),
        (0xFC00_0000, 0xFC00_C000, Kind::Other),
        (0xFEFF_8000, 0xFF00_0000, Kind::Other),
    ];
    if size > HOLE {
        regions.push((4 * GIB, 4 * GIB + size - HOLE, Kind::Ram));
    }
    regions
}

/// Page tables for the plan, made of the plan's own frames: how many tables, and how many of their entries were written.
fn tables(plan: &Plan, huge: bool) -> (usize, usize) {
    let layout = ImageLayout {
        text: IMAGE.start..IMAGE.start + 0x4_0000,
        rodata: IMAGE.start + 0x4_0000..IMAGE.start + 0x5_0000,
        data: IMAGE.start + 0x5_0000..IMAGE.end,
    };
    let mut memory = Tables::new();
    let mut tables = PageTables::new(&mut memory, huge).expect("there is memory");
    map_all(&mut tables, &mut memory, &plan.ram, &layout, 2 * MIB..2 * MIB + PAGE).expect("there is memory");
    (memory.count(), memory.written())
}

#[test]
fn machines_of_every_size_are_planned_and_large_ones_cost_little_more() {
    let mut costs = Vec::new();
    for size in [4 * MIB, 16 * MIB, 32 * MIB, GIB, 3 * GIB, 4 * GIB, 64 * GIB] {
        let plan = planned(&pvh(size));
        let taken = [&IMAGE, &plan.storage, &plan.stack].map(|range| range.end - range.start);
        assert_eq!(plan.free.total(), size - PAGE - taken.iter().sum::<u64>());
        assert_eq!((plan.stack.start + PAGE) % LARGE_PAGE, 0, "a large page maps all of the stack");
        let cost = [tables(&plan, false), tables(&plan, true)];
        println!(
            "{:>6} MiB: tables and entries {cost:?}, {} KiB of words",
            size / MIB,
            plan.storage.end.saturating_sub(plan.storage.start) / 1024
        );
        costs.push(cost);
    }
    // From 16 MiB to 1 GiB: a page table more at most, and an entry for each 2 MiB.
    assert!(costs[3][0].0 <= costs[1][0].0 + 1 && costs[3][0].1 <= costs[1][0].1 + 512, "{costs:?}");
    // 64 GiB: a table for each GiB where the processor has no larger pages, else next to nothing.
    assert!(costs[6][0].0 <= 80 && costs[6][1].0 <= 10 && costs[6][1].1 < 3000, "{costs:?}");
}

#[test]
fn a_stack_finds_its_place_also_where_no_large_page_has_room() {
    let ends = [IMAGE.end + 128 * 1024, 2 * MIB + STACK_SIZE as u64 - PAGE, 2 * MIB + STACK_SIZE as u64];
    let places = ends.map(|end| {
        let info = with(&[(0, end, Kind::Ram)]);
        Plan::new(&info.map, IMAGE, &info.modules).expect("a map").map(|plan| plan.stack.start)
    });
    // Below the image there is room for it, too.
    assert_eq!(places, [Some(2 * PAGE), Some(2 * PAGE), Some(2 * MIB - PAGE)]);
    let info = with(&[(IMAGE.start, IMAGE.end + STACK_SIZE as u64, Kind::Ram)]);
    assert!(matches!(Plan::new(&info.map, IMAGE, &info.modules), Ok(None)));
}

#[test]
fn reserved_and_overlapping_regions_are_not_memory() {
    let plan = planned(&[
        (8 * GIB, 72 * GIB, Kind::Ram),
        (0x9_FC00, 0x10_0000, Kind::Other),
        (0, 2 * GIB, Kind::Ram),
        (GIB, 3 * GIB, Kind::Ram),
        (0x7FF0_0001, 0x7FF0_0002, Kind::Other),
        (9 * GIB - 1, 10 * GIB + 1, Kind::Other),
    ]);
    let lost = 0x10_0000 - 0x9_F000 + PAGE + GIB + 2 * PAGE;
    assert_eq!(plan.ram.total(), 3 * GIB + 64 * GIB - lost);
}

#[test]
fn memory_at_absurd_addresses_is_left_alone() {
    // The words for 64 TiB would take gigabytes.
    let plan = planned(&[(0, 64 * MIB, Kind::Ram), (HIGHEST - GIB, HIGHEST, Kind::Ram)]);
    assert_eq!(plan.ram.total(), 64 * MIB);
    let plan = planned(&[(0, 64 * MIB, Kind::Ram), (HIGHEST, HIGHEST + GIB, Kind::Ram)]);
    assert_eq!(plan.ram.total(), 64 * MIB);
    let info = with(&[(0, 64 * MIB, Kind::Ram), (HIGHEST, u64::MAX, Kind::Ram)]);
    assert_eq!(Plan::new(&info.map, IMAGE, &info.modules).err(), Some(StartInfoError::Impossible));
    // Above 512 GiB, where the root of the page tables has another entry, is fine.
    let plan = planned(&[(0, 16 * MIB, Kind::Ram), (600 * GIB, 601 * GIB, Kind::Ram)]);
    assert_eq!(plan.ram.total(), 16 * MIB);
    let plan = planned(&[(0, 3 * GIB, Kind::Ram), (600 * GIB, 601 * GIB, Kind::Ram)]);
    assert_eq!(plan.ram.total(), 4 * GIB);
    assert!(tables(&plan, true).0 < 10);
}

#[test]
fn nothing_below_4_gib_is_no_machine() {
    let info = with(&[(4 * GIB, 8 * GIB, Kind::Ram)]);
    assert!(matches!(Plan::new(&info.map, IMAGE, &info.modules), Ok(None)));
    let info = StartInfo::default();
    assert!(matches!(Plan::new(&info.map, IMAGE, &info.modules), Ok(None)));
}

#[test]
fn modules_stay_and_must_be_in_memory() {
    let mut info = with(&pvh(64 * MIB));
    info.modules.push(0x20_0123..0x20_1001);
    let plan = Plan::new(&info.map, IMAGE, &info.modules).expect("it is in memory").expect("there is room");
    plan.check(&info, IMAGE).expect("the plan is sound");
    assert!(!plan.free.iter().any(|range| range.contains(&0x20_0000) || range.contains(&0x20_1FFF)));
    assert!(plan.free.iter().any(|range| range.contains(&0x20_2000)));
    for wrong in
        [IMAGE.end - 1..IMAGE.end + 5, IMAGE.end - 0x800..IMAGE.end, 63 * MIB..64 * MIB + 1, 5 * GIB..5 * GIB + 1]
    {
        let mut info = with(&pvh(64 * MIB));
        info.modules.push(wrong.clone());
        assert_eq!(Plan::new(&info.map, IMAGE, &info.modules).err(), Some(StartInfoError::Impossible), "{wrong:#x?}");
    }
}

fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0_u64..100).prop_map(|pages| pages * 0x8000),
        (0_u64..80).prop_map(|size| size * GIB),
        any::<u64>(),
        u64::MAX - 0x2000..=u64::MAX,
        HIGHEST - 0x2000..=HIGHEST + 0x2000,
    ]
}

proptest! {
    #[test]
    fn no_map_is_planned_wrongly(
        regions in prop::collection::vec((edge(), edge(), any::<bool>()), 0..40),
        modules in prop::collection::vec((edge(), 0_u64..0x10_0000), 0..3),
    ) {
        let mut info = StartInfo::default();
        for (start, end, ram) in regions {
            info.map.add(Region { start, end, kind: if ram { Kind::Ram } else { Kind::Other } });
        }
        for (start, size) in modules {
            info.modules.push(start..start.saturating_add(size));
        }
        if let Ok(Some(plan)) = Plan::new(&info.map, IMAGE, &info.modules) {
            plan.check(&info, IMAGE)?;
        }
    }
}
