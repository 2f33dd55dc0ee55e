package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// worker makes of a file what is to be started here.
func (p *Place) worker(dir string, doc *document) (*Worker, error) {
	d, err := doc.Description.apply(doc.Profiles, p)
	if err != nil {
		return nil, err
	}
	d.override(p)
	if err := d.check(); err != nil {
		return nil, err
	}
	if d.IsDisabled.on {
		return nil, problem.New(problem.Invalid, "it is disabled (description.isDisabled)")
	}
	w := &Worker{
		Language: *d.Language, Directory: dir, Executable: p.expand(*d.DefaultExecutablePath), Extensions: d.Extensions,
		RuntimeName: value(d.DefaultRuntimeName), Indexes: d.WorkerIndexing.on, ErrorsOnlyOnStderr: d.UseStdErrorStreamForErrors.on,
	}
	if w.RuntimeVersion, err = d.version(p); err != nil {
		return nil, err
	}
	if err := d.supports(p); err != nil {
		return nil, err
	}
	if w.Path, err = d.path(p, dir, w.RuntimeVersion); err != nil {
		return nil, err
	}
	switch t := doc.Latchkey.Transport; t {
	case "":
	case "frames":
		w.Frames = true
	default:
		return nil, problem.New(problem.Invalid, "latchkey.transport must be frames or absent, not "+strconv.Quote(t))
	}
	w.Arguments, w.WorkerArguments = p.arguments(d.Arguments, dir), p.arguments(d.WorkerArguments, dir)
	if w.Process, err = doc.ProcessOptions.process(); err != nil {
		return nil, err
	}
	return w, w.Process.adjust(p)
}

// override applies the settings of one language.
func (d *description) override(p *Place) {
	prefix := "languageWorkers__" + value(d.Language) + "__"
	if v := p.setting(prefix + "defaultExecutablePath"); v != "" {
		d.DefaultExecutablePath = &v
	}
	if v := p.setting(prefix + "defaultRuntimeVersion"); v != "" {
		d.DefaultRuntimeVersion = &v
	}
	if v := p.setting(prefix + "arguments"); v != "" {
		d.Arguments = append(slices.Clone(d.Arguments), strings.Fields(v)...)
	}
}

// version gives the runtime version: the setting's, else the default. It must be
// one of the supported ones.
func (d *description) version(p *Place) (string, error) {
	version := p.setting(VersionSetting)
	if version == "" {
		version = value(d.DefaultRuntimeVersion)
	}
	if expression := value(d.SanitizeRuntimeVersionRegex); expression != "" && version != "" {
		re, err := regexp.Compile(expression)
		if err != nil {
			return "", fmt.Errorf("description.sanitizeRuntimeVersionRegex: %w", err)
		}
		if part := re.FindString(version); part != "" {
			version = part
		}
	}
	if version != "" && len(d.SupportedRuntimeVersions) > 0 && !containsFold(d.SupportedRuntimeVersions, version) {
		return "", problem.New(problem.Invalid, fmt.Sprintf("runtime version %s is not supported; it supports %s",
			strconv.Quote(version), strings.Join(d.SupportedRuntimeVersions, ", "))).WithNext("set " + VersionSetting + " to one of them")
	}
	return version, nil
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(e string) bool { return strings.EqualFold(e, s) })
}

// supports checks the machine where the worker's path depends on it.
func (d *description) supports(p *Place) error {
	path := value(d.DefaultWorkerPath)
	if strings.Contains(path, "{os}") && len(d.SupportedOperatingSystems) > 0 && !containsFold(d.SupportedOperatingSystems, osName(p.os())) {
		return problem.New(problem.Invalid, "operating system "+osName(p.os())+" is not among description.supportedOperatingSystems")
	}
	if strings.Contains(path, "{architecture}") && len(d.SupportedArchitectures) > 0 && !containsFold(d.SupportedArchitectures, archName(p.arch())) {
		return problem.New(problem.Invalid, "architecture "+archName(p.arch())+" is not among description.supportedArchitectures")
	}
	return nil
}

func osName(goos string) string {
	if goos == "darwin" {
		return "OSX"
	}
	return strings.ToUpper(goos)
}

func archName(goarch string) string {
	switch goarch {
	case "amd64":
		return "X64"
	case "arm64":
		return "Arm64"
	case "386":
		return "X86"
	}
	return goarch
}

// path gives the worker's own file, which must be there; "" when none is named.
func (d *description) path(p *Place, dir, version string) (string, error) {
	path := value(d.DefaultWorkerPath)
	if path == "" {
		return "", nil
	}
	if version == "" && strings.Contains(path, "%"+VersionSetting+"%") {
		return "", problem.New(problem.Invalid, "description.defaultWorkerPath needs a runtime version, and there is no default").WithNext("set " + VersionSetting)
	}
	path = strings.NewReplacer("{os}", osName(p.os()), "{architecture}", archName(p.arch()), "%"+VersionSetting+"%", version).Replace(path)
	path = p.expand(path)
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, filepath.FromSlash(path))
	}
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return "", problem.New(problem.Invalid, "its file "+path+" is missing").WithNext("install the worker anew")
	}
	return path, nil
}

func (p *Place) arguments(list []string, dir string) []string {
	var out []string
	for _, a := range list {
		out = append(out, p.expand(strings.ReplaceAll(a, "{workerDirectoryPath}", dir)))
	}
	return out
}

var variable = regexp.MustCompile(`%[A-Za-z_][A-Za-z0-9_.:()-]*%`)

// expand replaces each %NAME% that is set.
func (p *Place) expand(text string) string {
	return variable.ReplaceAllStringFunc(text, func(m string) string {
		if v := p.setting(strings.Trim(m, "%")); v != "" {
			return v
		}
		return m
	})
}

// adjust applies the process count of the settings and the limit.
func (c *Process) adjust(p *Place) error {
	given := p.setting(CountSetting)
	switch {
	case given != "":
		n, err := strconv.Atoi(strings.TrimSpace(given))
		if err != nil {
			return problem.New(problem.Invalid, "setting "+CountSetting+" must be a whole number, not "+strconv.Quote(given))
		}
		c.Count = max(n, 1)
	case strings.EqualFold(strings.TrimSpace(p.setting(dynamicSetting)), "true"):
		c.Count, c.Dynamic = 1, true
	case c.PerCPU:
		c.Count = min(runtime.NumCPU(), c.MaxCount)
	}
	if c.Count > c.MaxCount {
		return problem.New(problem.Invalid, fmt.Sprintf("%d worker processes are asked for, the worker allows %d (processOptions.maxProcessCount)", c.Count, c.MaxCount)).
			WithNext("set " + CountSetting + " to less")
	}
	return nil
}
