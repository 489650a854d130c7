use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::memory::Frames;
use crate::model::{GUEST_PATH, Machine};

/// A machine's memory, and Xen's idea of it.
struct Model {
    total: usize,
    frames: RefCell<Frames<'static>>,
    mapped: RefCell<HashSet<u64>>,
    /// The frames that have memory behind them.
    populated: RefCell<HashSet<u64>>,
    /// The largest blocks that Xen has, and how many frames it can give at all.
    largest: Cell<usize>,
    host: Cell<usize>,
    /// How many blocks Xen takes in a call.
    patience: Cell<usize>,
    tables: Cell<bool>,
    heap: Cell<usize>,
    held: Cell<usize>,
    calls: Cell<usize>,
}

impl Model {
    fn new(total: usize) -> Rc<Self> {
        let mut frames = Frames::new(total, vec![u64::MAX; Frames::storage(total)].leak());
        frames.put(0..total);
        let all: HashSet<u64> = (0..total as u64).collect();
        Rc::new(Self {
            total,
            frames: RefCell::new(frames),
            mapped: RefCell::new(all.clone()),
            populated: RefCell::new(all),
            largest: Cell::new(LARGEST),
            host: Cell::new(0),
            patience: Cell::new(usize::MAX),
            tables: Cell::new(true),
            heap: Cell::new(0),
            held: Cell::new(0),
            calls: Cell::new(0),
        })
    }

    fn frames_of(block: &Block) -> impl Iterator<Item = u64> {
        block.frame..block.frame + (1 << block.order)
    }

    /// What a program could do next to a balloon: use memory.
    fn use_frames(&self, count: usize) -> Vec<usize> {
        let mut frames = self.frames.borrow_mut();
        let used: Vec<usize> = (0..count).map_while(|_| frames.take_block(0)).collect();
        for &frame in &used {
            assert!(self.mapped.borrow().contains(&(frame as u64)), "frame {frame} is not mapped");
            assert!(self.populated.borrow().contains(&(frame as u64)), "there is nothing behind frame {frame}");
        }
        used
    }
}

impl Ground for Rc<Model> {
    fn free_frames(&self) -> usize {
        self.frames.borrow().free_frames()
    }

    fn available(&self) -> usize {
        self.free_frames() * 4096 + self.heap.get()
    }

    fn total_frames(&self) -> usize {
        self.total
    }

    fn take(&self, order: usize) -> Option<Block> {
        if !self.tables.get() {
            return None;
        }
        let block = Block { frame: self.frames.borrow_mut().take_block(order)? as u64, order };
        assert!(Model::frames_of(&block).all(|frame| self.mapped.borrow_mut().remove(&frame)));
        Some(block)
    }

    fn put(&self, block: Block) {
        assert!(Model::frames_of(&block).all(|frame| self.populated.borrow().contains(&frame)));
        assert!(Model::frames_of(&block).all(|frame| self.mapped.borrow_mut().insert(frame)));
        self.frames.borrow_mut().put(block.frame as usize..block.frame as usize + (1 << block.order));
    }

    fn release(&self, blocks: &[Block]) -> usize {
        self.calls.set(self.calls.get() + 1);
        assert!(blocks.len() <= BATCH && blocks.iter().all(|block| block.order == blocks[0].order));
        let done = blocks.len().min(self.patience.get());
        for frame in blocks[..done].iter().flat_map(Model::frames_of) {
            assert!(!self.mapped.borrow().contains(&frame), "frame {frame} is still mapped");
            assert!(self.populated.borrow_mut().remove(&frame), "frame {frame} was given before");
            self.host.set(self.host.get() + 1);
        }
        done
    }

    fn populate(&self, blocks: &[Block]) -> usize {
        self.calls.set(self.calls.get() + 1);
        let order = blocks[0].order;
        let most = if order > self.largest.get() { 0 } else { self.host.get() >> order };
        let done = blocks.len().min(self.patience.get()).min(most);
        for frame in blocks[..done].iter().flat_map(Model::frames_of) {
            assert!(self.populated.borrow_mut().insert(frame), "frame {frame} has memory");
            self.host.set(self.host.get() - 1);
        }
        done
    }

    fn holds(&self, frames: usize) {
        assert_eq!(self.total - frames, self.populated.borrow().len());
        self.held.set(frames);
    }
}

#[test]
fn memory_is_given_in_large_blocks_and_taken_again() {
    let model = Model::new(8192);
    let mut balloon = Balloon::new(model.clone());
    assert!(balloon.adjust(4096 + 5));
    assert_eq!(model.populated.borrow().len(), 4096 - 5);
    assert!(model.calls.get() < 8, "{} hypercalls", model.calls.get());
    assert!(balloon.adjust(3));
    assert_eq!(model.held.get(), 3);
    assert!(balloon.adjust(0));
    assert_eq!(model.free_frames(), 8192);
    assert_eq!(model.use_frames(8192).len(), 8192);
}

#[test]
fn what_is_in_use_and_a_reserve_stay() {
    let model = Model::new(4096);
    let used = model.use_frames(1000);
    let mut balloon = Balloon::new(model.clone());
    assert!(!balloon.adjust(4000));
    assert_eq!(model.held.get(), 4096 - 1000 - RESERVE);
    assert_eq!(balloon.pressure(false), Pressure::Critical);
    // Freed, it follows.
    for frame in used {
        model.frames.borrow_mut().put(frame..frame + 1);
    }
    assert!(!balloon.adjust(4000));
    assert_eq!(model.held.get(), 4096 - RESERVE);
    assert!(balloon.adjust(1000) && balloon.pressure(true) == Pressure::Relaxed);
}

#[test]
fn a_host_without_large_blocks_gives_small_ones_and_one_without_memory_none() {
    let model = Model::new(4096);
    let mut balloon = Balloon::new(model.clone());
    assert!(balloon.adjust(2048));
    model.largest.set(0);
    assert!(balloon.adjust(1500));
    model.host.set(100);
    assert!(!balloon.adjust(0));
    assert_eq!(model.held.get(), 1400);
    model.host.set(1400);
    assert!(balloon.adjust(0));
}

#[test]
fn without_page_tables_nothing_is_given() {
    let model = Model::new(4096);
    model.tables.set(false);
    assert!(!Balloon::new(model.clone()).adjust(100));
    assert_eq!((model.held.get(), model.free_frames()), (0, 4096));
}

#[test]
fn pressure_has_levels_that_are_left_clearly() {
    let model = Model::new(3200);
    let mut balloon = Balloon::new(model.clone());
    assert_eq!(balloon.pressure(true), Pressure::Relaxed);
    let mut used = model.use_frames(3200 - 399);
    assert_eq!(balloon.pressure(true), Pressure::Tight);
    used.extend(model.use_frames(300));
    assert_eq!(balloon.pressure(true), Pressure::Critical);
    // Free memory of the heap counts.
    model.heap.set(20 * 4096);
    assert_eq!(balloon.pressure(true), Pressure::Critical);
    model.heap.set(30 * 4096);
    assert_eq!(balloon.pressure(true), Pressure::Tight);
    model.heap.set(390 * 4096);
    assert_eq!(balloon.pressure(true), Pressure::Tight);
    model.heap.set(410 * 4096);
    assert_eq!(balloon.pressure(true), Pressure::Relaxed);
}

#[test]
fn the_toolstack_s_target_is_followed() {
    let machine = Machine::new(1);
    let node = |path: &str| format!("{GUEST_PATH}/{path}");
    machine.store.write_for_guest(&node(MAXIMUM), "32768");
    machine.store.write_for_guest(&node(TARGET), "16384");
    let model = Model::new(8192);
    machine.run(async {
        let store = machine.attachment.xenstore().clone();
        let balloon = start(&store, model.clone()).await.expect("xenstore answers");
        // Before anything else ran.
        assert_eq!(model.held.get(), 4096);
        let serving = mirage_rt::spawn(follow(store, balloon));
        for (target, held) in [("32768", 0), ("8192", 6144), ("no number", 6144), ("0", 8192 - RESERVE), ("40000", 0)] {
            machine.store.write_for_guest(&node(TARGET), target);
            mirage_rt::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(model.held.get(), held, "target {target}");
        }
        // What was in use when the target came is given later.
        let used = model.use_frames(4096);
        machine.store.write_for_guest(&node(TARGET), "12288");
        mirage_rt::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(model.held.get(), 4096 - RESERVE);
        used.into_iter().for_each(|frame| model.frames.borrow_mut().put(frame..frame + 1));
        mirage_rt::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(model.held.get(), 5120);
        drop(serving);
    });
    assert_eq!(machine.store.read(&node(FEATURE)).as_deref(), Some("1"));
}

#[test]
fn without_a_target_there_is_nothing_to_do() {
    let machine = Machine::new(1);
    let model = Model::new(1024);
    machine.run(async {
        start(machine.attachment.xenstore(), model.clone()).await.expect("xenstore answers");
    });
    assert_eq!(model.held.get(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_frame_is_lost_or_touched_while_xen_has_it(
        total in 600_usize..3000,
        steps in prop::collection::vec((0_usize..3000, 0_usize..500, 0_usize..=9, prop_oneof![0_usize..3, Just(usize::MAX)]), 1..20),
    ) {
        let model = Model::new(total);
        let mut balloon = Balloon::new(model.clone());
        let mut used = Vec::new();
        for (wanted, uses, largest, patience) in steps {
            model.largest.set(largest);
            model.patience.set(patience);
            let met = balloon.adjust(wanted);
            prop_assert_eq!(met, model.held.get() == wanted);
            prop_assert!(model.held.get() == 0 || !met || model.held.get() == wanted);
            for frame in used.drain(..) {
                model.frames.borrow_mut().put(frame..frame + 1);
            }
            used = model.use_frames(uses);
            prop_assert_eq!(model.free_frames() + used.len() + model.held.get(), total);
            balloon.pressure(met);
        }
        model.largest.set(LARGEST);
        model.patience.set(usize::MAX);
        prop_assert!(balloon.adjust(0));
    }
}
