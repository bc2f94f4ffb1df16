"""A robot in a square room, as its drivers' other end: python robot.py ros2 PORT | mavlink ADDRESS [unwilling].

It says what it was told to do (`cmd LINEAR ANGULAR`, `said TEXT`) on standard output, and does what is asked of it on
standard input: `poison` (readings that are no numbers, once), `garbage` (a message that cannot be read), `hear TEXT`,
`cliff`, `floor`.
"""
import math, queue, sys, threading, time

kind, place = sys.argv[1], sys.argv[2]
unwilling = 'unwilling' in sys.argv
SIZE, HZ = 8.0, 50


class Room:
    x, y, heading, linear, angular, cliff, told_at = 2.0, 3.0, 0.5, 0.0, 0.0, False, 0.0

    def go(self, linear, angular):
        if (linear, angular) != (self.linear, self.angular):
            print('cmd %.3f %.3f' % (linear, angular), flush=True)
        self.linear, self.angular, self.told_at = linear, angular, time.monotonic()

    def step(self, dt):
        # As a base does: it stops when it hears nothing.
        if time.monotonic() - self.told_at > 0.5 and (self.linear or self.angular):
            self.go(0.0, 0.0)
        self.x += self.linear * math.cos(self.heading) * dt
        self.y += self.linear * math.sin(self.heading) * dt
        self.heading = math.remainder(self.heading + self.angular * dt, math.tau)

    def range(self, bearing):
        c, s = math.cos(self.heading + bearing), math.sin(self.heading + bearing)
        ways = [(SIZE - self.x) / c if c > 1e-9 else -self.x / c if c < -1e-9 else math.inf,
                (SIZE - self.y) / s if s > 1e-9 else -self.y / s if s < -1e-9 else math.inf]
        # No scanner says the same twice.
        return min(ways) + 0.002 * math.sin(37.0 * bearing + time.monotonic())


room, asked = Room(), queue.Queue()


def read():
    for line in sys.stdin:
        asked.put(line.strip())
    asked.put('quit')


threading.Thread(target=read, daemon=True).start()


def each(say, garbage, hear):
    """Says everything as often as it is due, until there is nobody who asks any more."""
    print('ready', flush=True)
    tick, due = 0, time.monotonic()
    while True:
        poison = False
        while not asked.empty():
            word = asked.get()
            if word == 'quit':
                return
            poison |= word == 'poison'
            if word == 'garbage':
                garbage()
            if word.startswith('hear '):
                hear(word[5:])
            if word in ('cliff', 'floor'):
                room.cliff = word == 'cliff'
        room.step(1 / HZ)
        say(tick, poison)
        tick, due = tick + 1, due + 1 / HZ
        time.sleep(max(0.0, due - time.monotonic()))


def ros2():
    import numpy as np, zenoh
    from rosbags.typesys import Stores, get_typestore
    store = get_typestore(Stores.ROS2_HUMBLE)
    t = store.types
    config = zenoh.Config()
    config.insert_json5('mode', '"peer"')
    config.insert_json5('scouting/multicast/enabled', 'false')
    config.insert_json5('listen/endpoints', '["tcp/127.0.0.1:%s"]' % place)
    v = lambda x, y, z: t['geometry_msgs/msg/Vector3'](x=x, y=y, z=z)
    nine, many = np.zeros(9), np.zeros(36)
    with zenoh.open(config) as session:
        put = lambda topic, name, m: session.put(topic, bytes(store.serialize_cdr(m, name)))

        def header():
            now = time.time()
            return t['std_msgs/msg/Header'](frame_id='base', stamp=t['builtin_interfaces/msg/Time'](
                sec=int(now), nanosec=int(now % 1 * 1e9)))

        def take(sample):
            m = store.deserialize_cdr(sample.payload.to_bytes(), 'geometry_msgs/msg/Twist')
            room.go(m.linear.x, m.angular.z)

        def said(sample):
            print('said ' + store.deserialize_cdr(sample.payload.to_bytes(), 'std_msgs/msg/String').data, flush=True)

        session.declare_subscriber('cmd_vel', take)
        session.declare_subscriber('say', said)

        def say(tick, poison):
            half = room.heading / 2
            q = t['geometry_msgs/msg/Quaternion'](x=0.0, y=0.0, z=math.sin(half), w=math.cos(half))
            x = math.nan if poison else room.x
            put('odom', 'nav_msgs/msg/Odometry', t['nav_msgs/msg/Odometry'](
                header=header(), child_frame_id='base', pose=t['geometry_msgs/msg/PoseWithCovariance'](
                    pose=t['geometry_msgs/msg/Pose'](position=t['geometry_msgs/msg/Point'](x=x, y=room.y, z=0.0),
                                                     orientation=q), covariance=many),
                twist=t['geometry_msgs/msg/TwistWithCovariance'](twist=t['geometry_msgs/msg/Twist'](
                    linear=v(room.linear, 0.0, 0.0), angular=v(0.0, 0.0, room.angular)), covariance=many)))
            put('imu', 'sensor_msgs/msg/Imu', t['sensor_msgs/msg/Imu'](
                header=header(), orientation=q, orientation_covariance=nine, angular_velocity=v(0.0, 0.0, room.angular),
                angular_velocity_covariance=nine, linear_acceleration=v(0.0, 0.0, 9.80665),
                linear_acceleration_covariance=nine))
            put('cliff', 'std_msgs/msg/Bool', t['std_msgs/msg/Bool'](data=room.cliff))
            put('bumper', 'std_msgs/msg/Bool', t['std_msgs/msg/Bool'](data=False))
            if tick % 5 == 0:
                ranges = [room.range(-math.pi + i * math.tau / 180) for i in range(180)]
                put('scan', 'sensor_msgs/msg/LaserScan', t['sensor_msgs/msg/LaserScan'](
                    header=header(), angle_min=-math.pi, angle_max=math.pi - math.tau / 180,
                    angle_increment=math.tau / 180, time_increment=0.0, scan_time=0.1, range_min=0.05, range_max=12.0,
                    ranges=np.array(ranges, dtype=np.float32), intensities=np.array([], dtype=np.float32)))
                put('battery_state', 'sensor_msgs/msg/BatteryState', t['sensor_msgs/msg/BatteryState'](
                    header=header(), voltage=24.0, temperature=20.0, current=-1.0, charge=9.0, capacity=10.0,
                    design_capacity=10.0, percentage=0.875, power_supply_status=2, power_supply_health=1,
                    power_supply_technology=2, present=True, cell_voltage=np.array([4.0, 4.0], dtype=np.float32),
                    cell_temperature=np.array([20.0], dtype=np.float32), location='base', serial_number='1'))

        def hear(text):
            put('heard', 'std_msgs/msg/String', t['std_msgs/msg/String'](data=text))

        each(say, lambda: session.put('odom', b'\x00\x01\x00\x00nothing'), hear)


def mavlink():
    import os
    os.environ['MAVLINK20'] = '1'
    from pymavlink import mavutil
    from pymavlink.dialects.v20 import common as m
    link = mavutil.mavlink_connection(place, source_system=1, source_component=1, dialect='common')
    send, began = link.mav, time.monotonic()
    armed, words = [False], {}

    def take(message):
        name = message.get_type()
        if name == 'COMMAND_LONG':
            arms = message.command == m.MAV_CMD_COMPONENT_ARM_DISARM
            denied = unwilling and arms
            if arms and not denied:
                armed[0] = message.param1 == 1
                print('armed' if armed[0] else 'disarmed', flush=True)
            send.command_ack_send(message.command, m.MAV_RESULT_DENIED if denied else m.MAV_RESULT_ACCEPTED)
        elif name == 'SET_POSITION_TARGET_LOCAL_NED':
            # As ArduPilot's Rover reads it: velocity and rate of turn, along the nose.
            if message.type_mask == 1511 and message.coordinate_frame == m.MAV_FRAME_BODY_NED:
                room.go(message.vx, -message.yaw_rate)
        elif name == 'STATUSTEXT':
            words.setdefault(message.id, {})[message.chunk_seq] = message.text
            if len(message.text) < 50:
                print('said ' + ''.join(text for _, text in sorted(words.pop(message.id).items())), flush=True)

    def say(tick, poison):
        while (message := link.recv_msg()) is not None:
            take(message)
        ms, yaw = int((time.monotonic() - began) * 1000), math.pi / 2 - room.heading
        if tick % 10 == 0:
            send.heartbeat_send(m.MAV_TYPE_GROUND_ROVER, m.MAV_AUTOPILOT_ARDUPILOTMEGA,
                                m.MAV_MODE_FLAG_CUSTOM_MODE_ENABLED, 15, m.MAV_STATE_ACTIVE)
        if tick % 25 == 0:
            send.sys_status_send(0, 0, 0, 100, 24000, -1, 87, 0, 0, 0, 0, 0, 0)
        send.attitude_send(ms, 0.0, 0.0, math.remainder(yaw, math.tau), 0.0, 0.0, -room.angular)
        x = math.nan if poison else room.x
        send.local_position_ned_send(ms, room.y, x, 0.0, room.linear * math.cos(yaw), room.linear * math.sin(yaw), 0.0)
        send.distance_sensor_send(ms, 2, 500, 150 if room.cliff else 8, m.MAV_DISTANCE_SENSOR_LASER, 0,
                                  m.MAV_SENSOR_ROTATION_PITCH_270, 0)
        if tick % 5 == 0:
            ranges = [room.range(-math.radians(5 * i)) for i in range(72)]
            send.obstacle_distance_send(ms * 1000, m.MAV_DISTANCE_SENSOR_LASER, [int(r * 100) for r in ranges], 5, 5,
                                        1200, 0.0, 0.0, m.MAV_FRAME_BODY_FRD)

    # A frame whose checksum is wrong, and one whose frame of reference nobody can know.
    def garbage():
        link.write(b'\xfd\x09\x00\x00\x00\x01\x01\x00\x00\x00garbage..\x00\x00')
        send.obstacle_distance_send(0, 0, [100] * 72, 0, 5, 1200, 0.0, 0.0, m.MAV_FRAME_LOCAL_NED)

    each(say, garbage, lambda text: None)


{'ros2': ros2, 'mavlink': mavlink}[kind]()
