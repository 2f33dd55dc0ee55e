package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	fileName    = "worker.config.json"
	maxFileSize = 1 << 20
	// maxProcesses is the highest limit a file may set itself: each process costs
	// the host descriptors and memory that it shares with other apps.
	maxProcesses = 256
)

// document is worker.config.json; member names ignore case.
type document struct {
	Description    description
	ProcessOptions *processOptions
	Profiles       []profile
	Latchkey       struct{ Transport string } // for workers of this program: "frames", or nothing
}

// description says what a worker is and how it is started. A nil member was not
// given, which matters where a profile replaces parts of it.
type description struct {
	Language                    *string
	Extensions                  []string
	DefaultExecutablePath       *string
	DefaultWorkerPath           *string
	DefaultRuntimeName          *string
	DefaultRuntimeVersion       *string
	SupportedRuntimeVersions    []string
	SupportedOperatingSystems   []string
	SupportedArchitectures      []string
	SanitizeRuntimeVersionRegex *string
	Arguments                   []string
	WorkerArguments             []string
	WorkerIndexing              flag
	UseStdErrorStreamForErrors  flag `json:"useStdErrorStreamForErrorsOnly"`
	IsDisabled                  flag
}

type processOptions struct {
	ProcessCount                 *int
	MaxProcessCount              *int
	SetProcessCountToNumberOfCPU flag `json:"setProcessCountToNumberOfCpuCores"`
	ProcessStartupInterval       *span
	ProcessStartupTimeout        *span
	InitializationTimeout        *span
	EnvironmentReloadTimeout     *span
	ProcessRestartInterval       *span
	ProcessShutdownTimeout       *span
}

// flag is true, false or one of them as text; unset is neither.
type flag struct{ set, on bool }

// UnmarshalJSON reads a flag. Unknown text is false, as in existing hosts.
func (f *flag) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `" `)
	if text == "null" {
		return nil
	}
	*f = flag{set: true, on: strings.EqualFold(text, "true")}
	return nil
}

// span is a time span such as "00:00:10".
type span time.Duration

// UnmarshalJSON reads a span.
func (s *span) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	d, err := funcapp.ParseTimeSpan(text)
	if err != nil {
		return err
	}
	if d < 0 {
		return fmt.Errorf("time span %q is negative", text)
	}
	*s = span(d)
	return nil
}

// readFile reads the file of one worker directory. The error names the file.
func readFile(dir string) (*document, error) {
	path := filepath.Join(dir, fileName)
	data, err := readLimited(path)
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, path+" cannot be read", err)
	}
	doc, err := parse(data)
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, path+" cannot be understood", err)
	}
	return doc, nil
}

// readLimited reads a file whose place an app's settings may name: a pipe would
// never end, and a device may have no end.
func readLimited(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = fmt.Errorf("it is larger than %d bytes", maxFileSize)
	}
	return data, err
}

// parse reads the text of a file. Byte order marks are dropped.
func parse(data []byte) (*document, error) {
	var doc document
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), &doc); err != nil {
		return nil, err
	}
	return &doc, nil
}

// check looks for what every worker must say.
func (d *description) check() error {
	switch {
	case value(d.Language) == "":
		return problem.New(problem.Invalid, "description.language is missing")
	case d.Extensions == nil:
		return problem.New(problem.Invalid, "description.extensions is missing")
	case value(d.DefaultExecutablePath) == "":
		return problem.New(problem.Invalid, "description.defaultExecutablePath is missing")
	}
	return nil
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// process merges the options over the defaults.
func (o *processOptions) process() (Process, error) {
	p := DefaultProcess()
	if o == nil {
		return p, nil
	}
	for _, n := range []struct {
		to   *int
		from *int
	}{{&p.Count, o.ProcessCount}, {&p.MaxCount, o.MaxProcessCount}} {
		if n.from != nil {
			*n.to = *n.from
		}
	}
	p.PerCPU = o.SetProcessCountToNumberOfCPU.on
	for _, d := range []struct {
		to   *time.Duration
		from *span
	}{
		{&p.StartupInterval, o.ProcessStartupInterval}, {&p.StartupTimeout, o.ProcessStartupTimeout},
		{&p.InitTimeout, o.InitializationTimeout}, {&p.ReloadTimeout, o.EnvironmentReloadTimeout},
		{&p.RestartInterval, o.ProcessRestartInterval}, {&p.ShutdownTimeout, o.ProcessShutdownTimeout},
	} {
		if d.from != nil {
			*d.to = time.Duration(*d.from)
		}
	}
	if p.Count < 1 || p.MaxCount < 1 || p.MaxCount > maxProcesses {
		return p, problem.New(problem.Invalid, fmt.Sprintf("processOptions: processCount must be 1 or more, and maxProcessCount 1 to %d", maxProcesses))
	}
	return p, nil
}
