package scan

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
)

// RuleID names the one rule of the SARIF report.
const RuleID = "azure-functions-access-key"

// NewSARIF reports in SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange
// Format"), as code hosts and CI systems read it: one run of the tool latchkey
// in the given version, one result of level error for each finding. Results have
// neither fingerprints nor snippets, so the report says no more about a key than
// the table does.
func NewSARIF(w io.Writer, version string) Report {
	tool, err := json.Marshal(sarifTool(version))
	open := fmt.Sprintf(sarifHead, tool)
	return &sarifReport{list: list{w: w, indent: "        ", open: open}, err: err}
}

const sarifHead = `{
  "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
  "version": "2.1.0",
  "runs": [
    {
      "tool": %s,
      "columnKind": "unicodeCodePoints",
      "results": [`

const sarifTail = "]\n    }\n  ]\n}\n"

type sarifReport struct {
	list list
	err  error
}

func (s *sarifReport) Add(f Finding) error {
	if s.err != nil {
		return s.err
	}
	return s.list.add(newSARIFResult(f))
}

func (s *sarifReport) Close() error {
	if s.err != nil {
		return s.err
	}
	return s.list.end(sarifTail)
}

type object = map[string]any

func sarifTool(version string) object {
	return object{"driver": object{
		"name":    "latchkey",
		"version": version,
		"rules": []object{{
			"id":                   RuleID,
			"name":                 "AzureFunctionsAccessKey",
			"shortDescription":     text("Azure Functions access key"),
			"fullDescription":      text("The text is an access key of a function app: it carries the signature and a valid checksum."),
			"help":                 text("Renew the key in the app that it opens, then remove it from the file and its history."),
			"defaultConfiguration": object{"level": "error"},
			"properties":           object{"tags": []string{"security", "secret"}, "security-severity": "9.0"},
		}},
	}}
}

func text(s string) object { return object{"text": s} }

// sarifResult has its members in the order people read them in.
type sarifResult struct {
	RuleID    string          `json:"ruleId"`
	RuleIndex int             `json:"ruleIndex"`
	Level     string          `json:"level"`
	Message   object          `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

type sarifLocation struct {
	Physical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region struct {
			StartLine   int64 `json:"startLine"`
			StartColumn int64 `json:"startColumn"`
			EndColumn   int64 `json:"endColumn"`
		} `json:"region"`
	} `json:"physicalLocation"`
}

func newSARIFResult(f Finding) sarifResult {
	var l sarifLocation
	l.Physical.Artifact.URI = fileURI(f.File)
	region := &l.Physical.Region
	region.StartLine, region.StartColumn, region.EndColumn = f.Line, f.Column, f.EndColumn
	return sarifResult{
		RuleID: RuleID, Level: "error",
		Message:   text(message(f)),
		Locations: []sarifLocation{l},
	}
}

func message(f Finding) string {
	s := fmt.Sprintf("Access key %s of kind %s.", f.Masked, f.Kind)
	if len(f.Owners) == 0 {
		return s + " What it opens is not known here."
	}
	for _, r := range rows(f) {
		s += fmt.Sprintf(" It opens %s (%s).", opens(r), r.Kind)
	}
	return s
}

// fileURI gives the reference for a path: relative paths stay relative, which
// is what code hosts resolve against the repository.
func fileURI(path string) string {
	u := url.URL{Path: filepath.ToSlash(path)}
	if filepath.IsAbs(path) {
		u.Scheme = "file"
	}
	return u.String()
}
