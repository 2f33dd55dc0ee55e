package config

import (
	"os"
	"path/filepath"
	"slices"
)

// toolsProgram is the program of Core Tools, which bring workers along.
const toolsProgram = "func"

// usualPlaces are where packages of Core Tools put themselves.
var usualPlaces = []string{"/usr/lib/azure-functions-core-tools-4", "/usr/lib/azure-functions-core-tools",
	"/opt/homebrew/opt/azure-functions-core-tools@4", "/usr/local/lib/node_modules/azure-functions-core-tools/bin"}

// Installed gives the directories of workers that Core Tools have installed on
// this machine: beside their program on the search path, then in usual places.
func Installed(searchPath string) []string {
	var dirs []string
	for _, dir := range filepath.SplitList(searchPath) {
		if !filepath.IsAbs(dir) {
			continue
		}
		program, err := filepath.EvalSymlinks(filepath.Join(dir, toolsProgram))
		if err != nil {
			continue
		}
		at := filepath.Dir(program)
		dirs = append(dirs, filepath.Join(at, "workers"), filepath.Join(at, "..", "bin", "workers"))
	}
	for _, place := range usualPlaces {
		dirs = append(dirs, filepath.Join(place, "workers"))
	}
	var there []string
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && !slices.Contains(there, dir) {
			there = append(there, dir)
		}
	}
	return there
}
