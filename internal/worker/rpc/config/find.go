package config

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Settings that workers are found and changed by.
const (
	RuntimeSetting     = "FUNCTIONS_WORKER_RUNTIME"
	VersionSetting     = "FUNCTIONS_WORKER_RUNTIME_VERSION"
	CountSetting       = "FUNCTIONS_WORKER_PROCESS_COUNT"
	dynamicSetting     = "FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED"
	directoriesSetting = "languageWorkers__workersDirectory"
)

// Place is where an app is to run.
type Place struct {
	// Setting gives an app setting, "" when it is not given. Names with "__" are
	// also given as ":".
	Setting func(name string) string
	// Directories hold installed workers, each in a folder of its own; the first
	// directory that has the language wins. A directory that a setting names
	// comes before them.
	Directories  []string
	OS, Arch     string            // as in package runtime; "" is this machine's
	Properties   map[string]string // of the host, for conditions of profiles, by lower-cased name
	AppDirectory string            // relative directories in settings start here
}

func (p *Place) setting(name string) string {
	if p.Setting == nil {
		return ""
	}
	if v := p.Setting(name); v != "" {
		return v
	}
	return p.Setting(strings.ReplaceAll(name, "__", ":"))
}

func (p *Place) property(name string) string { return p.Properties[strings.ToLower(name)] }

func (p *Place) os() string {
	if p.OS != "" {
		return p.OS
	}
	return runtime.GOOS
}

func (p *Place) arch() string {
	if p.Arch != "" {
		return p.Arch
	}
	return runtime.GOARCH
}

// Find gives the worker for a language. Errors: problem.NotFound when there is
// none, which names those that were found and every place that was looked at;
// problem.Invalid when there is one that cannot be used, with the reason.
func (p *Place) Find(language string) (*Worker, error) {
	s := search{place: p, language: language}
	if dir := p.setting("languageWorkers__" + language + "__workerDirectory"); dir != "" {
		s.look(p.absolute(dir))
	}
	for _, dir := range p.directories() {
		s.lookBelow(dir)
	}
	return s.result()
}

// directories gives the directories to look below.
func (p *Place) directories() []string {
	if dir := p.setting(directoriesSetting); dir != "" {
		return []string{p.absolute(dir)}
	}
	return p.Directories
}

func (p *Place) absolute(dir string) string {
	if filepath.IsAbs(dir) {
		return filepath.Clean(dir)
	}
	return filepath.Join(p.AppDirectory, dir)
}

// search is one run of Find.
type search struct {
	place    *Place
	language string
	found    *Worker
	fault    error    // of the wanted worker
	others   []string // languages of others
	looked   []string
	faults   []string // of files that belong to nobody known
}

// lookBelow looks at each folder of a directory.
func (s *search) lookBelow(dir string) {
	if s.done() {
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.looked = append(s.looked, dir+" (cannot be read)")
		return
	}
	s.looked = append(s.looked, dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if _, err := os.Stat(filepath.Join(path, fileName)); err == nil {
			s.take(path)
		}
	}
}

// look looks at one folder, which must be a worker's.
func (s *search) look(dir string) {
	s.looked = append(s.looked, dir)
	s.take(dir)
}

func (s *search) done() bool { return s.found != nil || s.fault != nil }

// take reads the worker in a folder and keeps it if it is the wanted one.
func (s *search) take(dir string) {
	doc, err := readFile(dir)
	if err != nil {
		s.faults = append(s.faults, err.Error())
		return
	}
	language := value(doc.Description.Language)
	if !strings.EqualFold(language, s.language) {
		s.others = append(s.others, strconv.Quote(language))
		return
	}
	if s.done() {
		return
	}
	w, err := s.place.worker(dir, doc)
	if err != nil {
		s.fault = problem.Wrap(problem.Invalid, fmt.Sprintf("the %s worker in %s cannot be used", language, dir), err)
		return
	}
	s.found = w
}

func (s *search) result() (*Worker, error) {
	switch {
	case s.found != nil:
		return s.found, nil
	case s.fault != nil:
		return nil, s.fault
	}
	text := fmt.Sprintf("there is no worker for %s %s", RuntimeSetting, strconv.Quote(s.language))
	if len(s.others) > 0 {
		slices.Sort(s.others)
		text += "; found: " + strings.Join(slices.Compact(s.others), ", ")
	} else {
		text += "; none was found at all"
	}
	if len(s.looked) > 0 {
		text += "; looked in " + strings.Join(s.looked, ", ")
	}
	if len(s.faults) > 0 {
		text += "; " + strings.Join(s.faults, "; ")
	}
	return nil, problem.New(problem.NotFound, text).
		WithNext("correct the setting, or let " + directoriesSetting + " name the directory that holds the worker's folder")
}
