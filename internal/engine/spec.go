package engine

import "time"

// Spec is what every replica of a revision is made of. Values of secrets are in
// Env with Secret set and in the files of volumes, nowhere else.
type Spec struct {
	Ref
	Replicas   int         // how many; 0 is a revision that waits
	Generation string      // anything that is no secret; another one replaces the replicas, as after a change of secrets
	Init       []Container // in the order in which they run
	Main       []Container // at least one
	Volumes    []Volume
	Ports      []Port        // what is to be reachable from Latchkey, besides ports of probes
	Grace      time.Duration // between asking main containers to end and killing them; 0: 30 s
}

// Container is one container of a replica.
type Container struct {
	Name       string // unique in the replica; a DNS label
	Image      string
	Command    []string // empty: the image's
	Args       []string // empty: the image's
	WorkingDir string
	Env        []Env
	CPU        float64 // cores; more than 0
	Memory     int64   // bytes; more than 0
	Probes     []Probe // of main containers only
	Mounts     []Mount
}

// Env is one environment variable. A Secret one is kept out of labels, command
// lines, digests, events and logs; that engines such as Docker show a container's
// environment to whoever may ask them cannot be avoided.
type Env struct {
	Name, Value string
	Secret      bool
}

// VolumeKind says what is behind a volume.
type VolumeKind string

const (
	VolumeEmpty  VolumeKind = "empty"  // empty at first, shared by the replica's containers, gone with it
	VolumeSecret VolumeKind = "secret" // Files, read-only
	VolumeFolder VolumeKind = "folder" // Folder on the machine of the engine, stays
)

// Volume is storage that containers of a replica can mount.
type Volume struct {
	Name   string
	Kind   VolumeKind
	Files  []File
	Folder string
}

// File is one file of a secret volume, readable by any user of the container.
type File struct {
	Path string // relative, without ".."
	Data []byte
}

// Mount puts a volume, or what is at SubPath in it, at a path of a container.
type Mount struct {
	Volume   string
	Path     string // absolute
	SubPath  string
	ReadOnly bool
}

// Port is one that a main container listens at. Number is the container's; Host is
// the one on this machine, 0 for any free one (see Replica.Addresses). A Host port
// goes with one replica only, a second one fails with ReasonPortTaken.
type Port struct {
	Number int
	Host   int
}

// ProbeKind says what a probe decides.
type ProbeKind string

const (
	Liveness  ProbeKind = "liveness"  // failing: the container is started again
	Readiness ProbeKind = "readiness" // failing: the replica is not ready
	Startup   ProbeKind = "startup"   // until it succeeds the others wait; failing: the container is started again
)

// Probe asks a container how it is, by HTTP when HTTP is set, else by connecting.
// The engine adds no probes: without a readiness probe a container is ready when
// it runs and its startup probe, if any, succeeded.
type Probe struct {
	Kind             ProbeKind
	Port             int
	HTTP             *HTTPProbe
	InitialDelay     time.Duration
	Period           time.Duration // 0: 10 s
	Timeout          time.Duration // 0: 1 s
	SuccessThreshold int           // 0: 1
	FailureThreshold int           // 0: 3
}

// HTTPProbe is a GET request that succeeds with a status from 200 to 399;
// redirects are not followed and certificates not checked.
type HTTPProbe struct {
	Path    string
	Host    string // the Host header; empty: localhost
	HTTPS   bool
	Headers map[string]string
}
