package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/containerapps"
	"github.com/latchkey/latchkey/internal/engine/imagebuild"
	"github.com/latchkey/latchkey/internal/problem"
)

// imageFile makes a folder an image of the process engine.
const imageFile = "container.json"

func newContainerUp(env *Env) *cobra.Command {
	f := newMadeFlags(env)
	var source, dockerfile string
	c := &cobra.Command{
		Use:   "up",
		Short: "Run a folder or an image as a container app, and make what is missing",
		Long: "Makes the resource group, the environment and the app if they are not there, else a new\n" +
			"revision of the app, and waits until it is ready. A folder with a Dockerfile is built with\n" +
			"Docker or podman; one with a container.json is run by the process engine as it is.",
		Example: "  latchkey containerapp up orders --source . --target-port 8080\n  latchkey containerapp up orders --image registry.example/orders:1 --target-port 8080",
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.up(cmd.Context(), args, source, dockerfile)
		},
	}
	f.addTo(c)
	c.Flags().StringVar(&source, "source", "", "folder with a Dockerfile or a container.json")
	c.Flags().StringVar(&dockerfile, "dockerfile", "", "the Dockerfile, if it has another name; a path in the folder")
	_ = c.MarkFlagDirname("source") // fails for a flag that is not there only
	return c
}

func (f *madeFlags) up(ctx context.Context, args []string, source, dockerfile string) error {
	name, err := f.named(args)
	if err != nil {
		return err
	}
	if (source == "") == (f.template.image == "") {
		return usageError{errors.New("say either --source FOLDER or --image NAME:TAG")}
	}
	client, err := f.client(ctx)
	if err != nil {
		return err
	}
	a, err := client.App(ctx, name, f.group)
	exists := err == nil
	if err != nil && !errors.Is(err, problem.NotFound) {
		return err
	}
	if source != "" {
		if err := f.makeImage(ctx, name, source, dockerfile); err != nil {
			return err
		}
	}
	if f.ingress == "" && f.targetPort != 0 && (!exists || a.Properties.Configuration.Ingress == nil) {
		f.ingress = "external"
	}
	if a, err = f.upload(ctx, client, a, name, exists); err != nil {
		return err
	}
	if f.noWait {
		return f.finish(ctx, client, a)
	}
	if a, err = f.await(ctx, client, a.ID); err != nil {
		return err
	}
	if f.unsettled(ctx, client, a) {
		f.tell("warning: revision %s was ready, and its containers end", a.Properties.Latest)
		f.tellWhy(ctx, client, a)
	}
	return f.print(a.Shown, func() error { return f.printUp(a) })
}

// unsettled looks for a moment whether containers that were ready go on running: a
// program that fails at once can be faster than the first look at it.
func (f *madeFlags) unsettled(ctx context.Context, client *containerapps.Client, a containerapps.App) bool {
	const looks, pause = 5, 200 * time.Millisecond
	for range looks {
		replicas, err := client.Replicas(ctx, a, a.Properties.Latest)
		if err != nil {
			return false // nothing is known
		}
		for _, r := range replicas {
			for _, c := range r.Properties.Containers {
				if c.Restarts > 0 || c.Started && !c.Ready && c.Running != "Running" {
					return true
				}
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
	return false
}

func (f *madeFlags) printUp(a containerapps.App) error {
	if a.URL() == "" {
		idle := ""
		if s := a.Properties.Template.Scale; s == nil || (s.MinReplicas == nil || *s.MinReplicas == 0) && len(s.Rules) == 0 {
			idle = ", and nothing starts it again once it was idle: say --min-replicas 1 to keep it running"
		}
		_, err := fmt.Fprintf(f.env.Stdout, "%s runs as revision %s\n  no requests come to it%s; say --target-port PORT to give it an address\n", printable(a.Name), printable(a.Properties.Latest), idle)
		return err
	}
	_, err := fmt.Fprintf(f.env.Stdout, "%s runs as revision %s\n  url  %s\n", printable(a.Name), printable(a.Properties.Latest), printable(a.URL()))
	return err
}

// upload makes the app with everything it needs, or changes it.
func (f *madeFlags) upload(ctx context.Context, client *containerapps.Client, a containerapps.App, name string, exists bool) (containerapps.App, error) {
	if exists {
		before := a.Properties.Latest
		a, err := f.change(ctx, client, a)
		if err == nil && a.Properties.Latest == before {
			f.tell("nothing has changed: revision %s stays", before)
		}
		return a, err
	}
	e, err := f.upEnvironment(ctx, client)
	if err != nil {
		return a, err
	}
	if a, err = readContainerYAML(""); err != nil {
		return a, err
	}
	a.Name, a.Location, a.Properties.EnvironmentID = name, e.Location, e.ID
	if err := f.applyAll(ctx, &a, true); err != nil {
		return a, err
	}
	a, err = client.Create(ctx, f.group, name, a)
	if err == nil {
		f.tell("created %s in group %s", a.Name, a.Group)
	}
	return a, err
}

// change changes an app that is there. Of a folder's files there can be a revision
// already that is different otherwise: the new one then needs another suffix.
func (f *madeFlags) change(ctx context.Context, client *containerapps.Client, a containerapps.App) (containerapps.App, error) {
	change := func(a *containerapps.App) error { return f.applyAll(ctx, a, false) }
	if f.digest == "" {
		return client.Change(ctx, a.ID, change)
	}
	if _, latest, _ := strings.Cut(a.Properties.Latest, "--"); strings.HasPrefix(latest, f.digest) {
		f.template.suffix = latest
	}
	changed, err := client.Change(ctx, a.ID, change)
	if err == nil || !strings.Contains(err.Error(), "already exists") {
		return changed, err
	}
	f.template.suffix = f.digest + "-" + uuid.NewString()[:4]
	return client.Change(ctx, a.ID, change)
}

// upEnvironment finds the environment that is meant, or makes one.
func (f *madeFlags) upEnvironment(ctx context.Context, client *containerapps.Client) (containerapps.Environment, error) {
	if f.group == "" {
		f.group = defaultGroup
	}
	if err := client.EnsureGroup(ctx, f.group, f.location); err != nil {
		return containerapps.Environment{}, err
	}
	e, err := f.anEnvironment(ctx, client)
	if errors.Is(err, problem.NotFound) && !strings.HasPrefix(f.environment, "/") {
		e, err = client.CreateEnvironment(ctx, f.group, orText(f.environment, defaultGroup), f.location, nil)
		if err == nil {
			f.tell("created environment %s in group %s", e.Name, e.Group)
		}
	}
	return e, err
}

// makeImage makes the image of a folder: built with an engine, or, with a
// container.json, the folder itself.
func (f *madeFlags) makeImage(ctx context.Context, name, source, dockerfile string) error {
	folder, err := filepath.Abs(source)
	if err == nil {
		var info fs.FileInfo
		if info, err = os.Stat(folder); err == nil && !info.IsDir() {
			err = errors.New(folder + " is no folder")
		}
	}
	if err != nil {
		return problem.Wrap(problem.NotFound, "there is no folder "+printable(source), err)
	}
	if _, err := os.Stat(filepath.Join(folder, imageFile)); err == nil && dockerfile == "" {
		f.template.image = folder
		if f.template.suffix == "" { // the same files are the same revision
			f.digest, err = folderDigest(ctx, folder)
			f.template.suffix = f.digest
		}
		if err != nil {
			return err
		}
		f.tell("the image is folder %s, for the process engine; it isolates nothing", folder)
		return nil
	}
	dockerfile = orText(dockerfile, "Dockerfile")
	text, err := os.ReadFile(filepath.Join(folder, filepath.Clean("/"+dockerfile)))
	if err != nil {
		return problem.New(problem.NotFound, fmt.Sprintf("%s has neither a %.100s nor a %s", printable(source), dockerfile, imageFile)).
			WithNext("write a Dockerfile, or a container.json such as {\"command\": [\"./server\"]} to run the folder as a process, which isolates nothing")
	}
	if f.targetPort == 0 {
		f.targetPort = exposedBy(text)
	}
	began := time.Now()
	f.tell("building %s", folder)
	image, err := imagebuild.Build(ctx, imagebuild.Config{Folder: folder, Dockerfile: dockerfile, Name: "latchkey.local/" + strings.ToLower(name), Getenv: f.env.Get, Progress: &indented{w: f.env.Stderr}})
	if err != nil {
		return err
	}
	f.tell("built %s in %.1f s", image, time.Since(began).Seconds())
	f.template.image = image
	return nil
}

var exposeLine = regexp.MustCompile(`(?im)^[ \t]*EXPOSE[ \t]+([0-9]{1,5})`)

// exposedBy gives the first port that a Dockerfile exposes; 0 for none.
func exposedBy(text []byte) int {
	if m := exposeLine.FindSubmatch(text); m != nil {
		port, _ := strconv.Atoi(string(m[1])) // it is digits
		return port
	}
	return 0
}

// folderDigest gives a suffix for revisions of a folder: the same files give the
// same, so that nothing starts anew for nothing.
func folderDigest(ctx context.Context, folder string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		fmt.Fprintf(sum, "%q %v\n", path, d.Type())
		_, err = io.Copy(sum, file)
		return err
	})
	if err != nil {
		return "", problem.Wrap(problem.Invalid, "the folder cannot be read", err)
	}
	return "f" + hex.EncodeToString(sum.Sum(nil))[:9], nil
}

// indented writes what others say as lines below ours, safe for a terminal.
type indented struct {
	w    io.Writer
	rest []byte
}

// Write implements io.Writer.
func (i *indented) Write(p []byte) (int, error) {
	i.rest = append(i.rest, p...)
	for {
		at := bytes.IndexByte(i.rest, '\n')
		if at < 0 {
			return len(p), nil
		}
		if line := strings.TrimSpace(string(i.rest[:at])); line != "" {
			fmt.Fprintln(i.w, "  "+printable(line))
		}
		i.rest = i.rest[at+1:]
	}
}

// tellWhy shows the line by which the containers of a revision that failed say why.
func (f *containerFlags) tellWhy(ctx context.Context, client *containerapps.Client, a containerapps.App) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	replicas, err := client.Replicas(ctx, a, a.Properties.Latest)
	if err != nil {
		return // the reason of the failure is told in any case
	}
	for _, r := range replicas {
		for _, c := range append(r.Properties.Init, r.Properties.Containers...) {
			at, err := client.Find(ctx, a, a.Properties.Latest, r.Name, c.Name)
			if err != nil || c.Ready {
				continue
			}
			var text bytes.Buffer
			if err := client.Logs(ctx, a, at, containerapps.LogOptions{Tail: 100}, &text); err != nil {
				continue
			}
			if line := telling(text.String()); line != "" {
				f.tell("container %s wrote: %s", c.Name, line)
				return
			}
		}
	}
}

var tellingWords = regexp.MustCompile(`(?i)error|fatal|panic|exception|traceback|fail|cannot|can't|denied|refused|not found|no such|invalid|missing|required`)

// telling gives the first line that says what is wrong, else the last one.
func telling(text string) string {
	last := ""
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if last = line; tellingWords.MatchString(line) {
			return line
		}
	}
	return last
}
