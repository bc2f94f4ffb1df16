//! The simulator.

use std::sync::{Arc, Mutex};

use gpak_edge::body::{
    hal::{Pose, Twist},
    live::Simulated,
    sim::{Simulation, world::World},
};

use super::suite::{OtherEnd, conforms};

struct Room(Arc<Mutex<Simulation>>);

impl OtherEnd for Room {
    fn motions(&mut self) -> Vec<Twist> {
        vec![self.0.lock().unwrap().wanted()]
    }

    fn pose(&mut self) -> Option<Pose> {
        Some(self.0.lock().unwrap().pose())
    }
}

#[test]
fn the_simulator_is_a_driver_as_all_are() {
    let world = "name = \"room\"\nsize_m = [8.0, 8.0]\n[lidar]\nrange_max_m = 12.0\n[robot]\nat = [2.0, 3.0]\n\
                 heading_deg = 28.6\n";
    let world = World::parse(world, "room").unwrap();
    let simulation = Simulation::new(world, None);
    let (there, here) = std::sync::mpsc::channel();
    // The world is the driver's until it is made.
    let end = LateRoom(here, None);
    conforms(
        move |outlet| {
            let simulated = Simulated::new(simulation, 1.0, outlet);
            there.send(simulated.world()).unwrap();
            simulated
        },
        end,
    );
}

struct LateRoom(
    std::sync::mpsc::Receiver<Arc<Mutex<Simulation>>>,
    Option<Room>,
);

impl LateRoom {
    fn room(&mut self) -> &mut Room {
        self.1.get_or_insert_with(|| Room(self.0.recv().unwrap()))
    }
}

impl OtherEnd for LateRoom {
    fn motions(&mut self) -> Vec<Twist> {
        self.room().motions()
    }

    fn pose(&mut self) -> Option<Pose> {
        self.room().pose()
    }
}
