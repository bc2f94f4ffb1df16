//! Where a driver puts what its sensors say: the board first, then the recording, then the pilot.

use std::sync::mpsc::SyncSender;

use serde::Serialize;

use crate::{
    body::{
        hal::{
            Battery, Contact, DeviceError, Heard, Imu, Odometry, Scan, Sighting, Stamp, Stamped,
        },
        record::Recorder,
    },
    reflex::{
        clock::now,
        shm::{Board, BoardError, ScanWriter, Writer, cell::Cell},
    },
};

/// What sensors say that is not on the board: the reflexes do not need it.
#[derive(Clone, Debug)]
pub enum Sense {
    /// Somebody spoke.
    Heard(Stamped<Heard>),
    /// Who is in sight.
    Sightings(Stamped<Vec<Sighting>>),
    /// A peer warned of something that was not known.
    Warned {
        /// What it is called.
        peer: String,
        /// Of what.
        what: String,
    },
}

/// Where all sensors of a body put what they say.
#[derive(Clone)]
pub struct Outlet {
    /// The board.
    pub board: Board,
    /// The pilot, for what is not on the board.
    pub senses: SyncSender<Sense>,
    /// Where all is written down, if anywhere.
    pub recorder: Option<Recorder>,
}

/// The sensors of a body, each to be moved to where it is read.
pub struct Sensors {
    /// The wheels.
    pub odometry: Sensor<Odometry>,
    /// The inertial sensor.
    pub imu: Sensor<Imu>,
    /// The battery.
    pub battery: Sensor<Battery>,
    /// Bumper and cliff sensor.
    pub contact: Sensor<Contact>,
    /// The laser scanner.
    pub scan: ScanSensor,
    /// Microphone and camera.
    pub senses: SenseSensor,
}

impl Outlet {
    /// Takes all slots of the sensors; they are given back when the last of them is dropped.
    ///
    /// # Errors
    ///
    /// Another body writes to the board.
    pub fn open(&self, device: &'static str) -> Result<Sensors, DeviceError> {
        let board = &self.board;
        let taken = |why: BoardError| DeviceError::Failed {
            device,
            why: why.to_string(),
        };
        Ok(Sensors {
            odometry: self.sensor("/odom", board.odometry_writer().map_err(taken)?),
            imu: self.sensor("/imu", board.imu_writer().map_err(taken)?),
            battery: self.sensor("/battery", board.battery_writer().map_err(taken)?),
            contact: self.sensor("/contact", board.contact_writer().map_err(taken)?),
            scan: ScanSensor {
                writer: board.scan_writer().map_err(taken)?,
                recorder: self.recorder.clone(),
            },
            senses: SenseSensor {
                senses: self.senses.clone(),
                recorder: self.recorder.clone(),
            },
        })
    }

    fn sensor<T>(&self, channel: &'static str, writer: Writer<Stamped<T>>) -> Sensor<T> {
        Sensor {
            writer,
            recorder: self.recorder.clone(),
            channel,
        }
    }
}

/// One sensor's way to the board.
pub struct Sensor<T> {
    writer: Writer<Stamped<T>>,
    recorder: Option<Recorder>,
    channel: &'static str,
}

impl<T: Serialize> Sensor<T>
where
    Stamped<T>: Cell,
    T: Copy,
{
    /// It says this now: the clock of another machine is not ours.
    pub fn put(&mut self, value: T) {
        self.put_at(now(), value);
    }

    /// It said this then, by this machine's clock.
    pub fn put_at(&mut self, at: Stamp, value: T) {
        self.writer.write(&Stamped { at, value });
        if let Some(recorder) = &self.recorder {
            recorder.put(self.channel, at, &value);
        }
    }
}

/// The laser scanner's way to the board.
pub struct ScanSensor {
    writer: ScanWriter,
    recorder: Option<Recorder>,
}

impl ScanSensor {
    /// It says this now.
    ///
    /// # Errors
    ///
    /// The scan has more points than there is room for; it is left out.
    pub fn put(&mut self, scan: &Scan) -> Result<(), BoardError> {
        let at = now();
        self.writer.write(at, scan)?;
        if let Some(recorder) = &self.recorder {
            recorder.put("/scan", at, scan);
        }
        Ok(())
    }
}

/// The way of words and sights to the pilot.
#[derive(Clone)]
pub struct SenseSensor {
    senses: SyncSender<Sense>,
    recorder: Option<Recorder>,
}

impl SenseSensor {
    /// Somebody spoke.
    pub fn heard(&self, value: Heard) {
        let at = now();
        if let Some(recorder) = &self.recorder {
            recorder.put("/heard", at, &value);
        }
        let sense = Sense::Heard(Stamped { at, value });
        if self.senses.try_send(sense).is_err() {
            tracing::warn!("a word was not heard: the pilot does not listen");
        }
    }

    /// Who is in sight; nobody is something, too.
    pub fn sees(&self, value: Vec<Sighting>) {
        let at = now();
        if let Some(recorder) = &self.recorder {
            recorder.put("/sightings", at, &serde_json::json!({"sightings": value}));
        }
        // A pilot that does not listen misses a glance, not a word.
        let _ = self
            .senses
            .try_send(Sense::Sightings(Stamped { at, value }));
    }
}
